"""Admission: one native call that reserves at every level or at none. It waits only while a policy is being written."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from nemorouter.errors import Code
from nemorouter.gateway.peek import Peek
from nemorouter.gateway.problems import RejectedError

if TYPE_CHECKING:
    from nemorouter._core import Gate, Refusal

_PAUSES = (0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.256, 0.256)
"""About a second in all: a policy is written in microseconds, a money word recounted within a drainer's tick."""


def admit(gate: "Gate", index: int, peek: Peek, endpoint: int, upstream: int, prompt_bytes: int) -> "int | Refusal":
    """A ticket, or a refusal."""
    model: str = peek.model  # type: ignore[assignment]  # ``peek`` lets only strings through
    return gate.admit(
        index, model, endpoint, upstream, prompt_bytes, peek.output(), peek.choices(), peek.stream is True
    )


async def insist(refusal: "Refusal", again: "Callable[[], int | Refusal]") -> int:
    """Ask again after a refusal with NOT_READY; a ticket. RejectedError with the refusal that stands."""
    for pause in _PAUSES:
        if refusal.code != Code.NOT_READY:
            break
        await asyncio.sleep(pause)
        verdict = again()
        if isinstance(verdict, int):
            return verdict
        refusal = verdict
    raise RejectedError(Code(refusal.code), refusal=refusal)
