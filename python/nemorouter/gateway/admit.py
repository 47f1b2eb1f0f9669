"""Admission: one native call that reserves at every level or at none. It waits only while a policy is being written,
or while this host asks the others of its cluster for their share of a limit.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from nemorouter.errors import Code
from nemorouter.gateway.peek import Peek
from nemorouter.gateway.problems import RejectedError

if TYPE_CHECKING:
    from nemorouter._core import Gate, Refusal

_PAUSES = (0.001, 0.001, 0.002, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.256, 0.256)
"""About a second in all: a policy is written in microseconds, a lease asked for in a millisecond or two, a money word
recounted within a drainer's tick."""


def admit(gate: "Gate", index: int, peek: Peek, endpoint: int, upstream: int, prompt_bytes: int) -> "int | Refusal":
    """A ticket, or a refusal."""
    model: str = peek.model  # type: ignore[assignment]  # ``peek`` lets only strings through
    return gate.admit(
        index, model, endpoint, upstream, prompt_bytes, peek.output(), peek.choices(), peek.stream is True
    )


FENCED = "This server has lost touch with its cluster. Retry."

_WAITING = (Code.NOT_READY, Code.LEASE_WANTED)


async def insist(
    gate: "Gate", refusal: "Refusal", again: "Callable[[], int | Refusal]", wake: Callable[[], None]
) -> int:
    """Ask again after a refusal that may not last, after ``wake`` told the agent; a ticket.

    RejectedError with the refusal that stands, and at once where the host has lost its lease.
    """
    for pause in _PAUSES:
        if refusal.code not in _WAITING:
            break
        if gate.arena.fenced:
            raise RejectedError(Code.NOT_READY, FENCED)
        if refusal.code == Code.LEASE_WANTED:
            wake()
        await asyncio.sleep(pause)
        verdict = again()
        if isinstance(verdict, int):
            return verdict
        refusal = verdict
    raise RejectedError(Code(refusal.code), refusal=refusal)
