"""Admission that has to wait: a policy is being written, a money word recounted, or a share of a
limit asked for.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from nemorouter.errors import Code
from nemorouter.gateway.problems import RejectedError

if TYPE_CHECKING:
    from typing_extensions import TypeIs

    from nemorouter._core import Call, Gate, Refusal

_PAUSES = (
    0.001,
    0.001,
    0.002,
    0.002,
    0.004,
    0.008,
    0.016,
    0.032,
    0.064,
    0.128,
    0.256,
    0.256,
    0.256,
)
"""About a second in all: a policy is written in microseconds, a lease asked for in a millisecond or
two, a money word recounted within a drainer's tick.
"""


FENCED = "This server has lost touch with its cluster. Retry."

WAITING: Final = (int(Code.NOT_READY), int(Code.LEASE_WANTED))
"""Refusals that may not last."""


async def insist(
    gate: "Gate",
    refusal: "Refusal",
    again: "Callable[[], Call | Refusal]",
    wake: Callable[[], None],
) -> "Call":
    """Ask again after a refusal that may not last, after ``wake`` told the agent.

    RejectedError with the refusal that stands, and at once where the host has lost its lease.
    """
    for pause in _PAUSES:
        if refusal.code not in WAITING:
            break
        if gate.arena.fenced:
            raise RejectedError(Code.NOT_READY, FENCED)
        if refusal.code == Code.LEASE_WANTED:
            wake()
        await asyncio.sleep(pause)
        verdict = again()
        if admitted(verdict):
            return verdict
        refusal = verdict
    raise RejectedError(Code(refusal.code), refusal=refusal)


def admitted(verdict: "Call | Refusal") -> "TypeIs[Call]":
    """True if it is a call."""
    return verdict.code == 0
