"""Admission: one native call that reserves at every level or at none. It waits only while a policy is being written."""

import asyncio
from typing import TYPE_CHECKING

from nemorouter.errors import Code
from nemorouter.gateway.peek import Peek

if TYPE_CHECKING:
    from nemorouter._core import Gate, Refusal

_PAUSES = (0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.256, 0.256)
"""About a second in all: a policy is written in microseconds, a money word recounted within a drainer's tick."""


async def admit(
    gate: "Gate", index: int, peek: Peek, endpoint: int, upstream: int, prompt_bytes: int
) -> "int | Refusal":
    """A ticket, or the refusal that stands."""
    model, output, choices, stream = str(peek.model), peek.output(), peek.choices(), bool(peek.stream)
    verdict = gate.admit(index, model, endpoint, upstream, prompt_bytes, output, choices, stream)
    if type(verdict) is int:
        return verdict
    for pause in _PAUSES:
        if isinstance(verdict, int) or verdict.code != Code.NOT_READY:
            return verdict
        await asyncio.sleep(pause)
        verdict = gate.admit(index, model, endpoint, upstream, prompt_bytes, output, choices, stream)
    return verdict
