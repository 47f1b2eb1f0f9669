"""An admitted request from its ticket to its end. Whatever happens, ``end`` settles it exactly once.

Settling never waits, so no cancellation can come between the decision to settle and the settlement.
"""

import asyncio
from typing import TYPE_CHECKING

import msgspec

from nemorouter.gateway.headers import ietf_headers, usd
from nemorouter.gateway.wire import HeaderList
from nemorouter.types import Outcome
from nemorouter.upstream.usage import Usage, estimate

if TYPE_CHECKING:
    from nemorouter._core import Gate
    from nemorouter.gateway.peek import Peek

_NOTHING: Usage = (0, 0, 0)
_RECORD_S = 30.0
_LOOK_S = 0.001


class Call(msgspec.Struct, gc=False):
    """One ticket, who holds it, and what is known so far of its answer."""

    gate: "Gate"
    index: int
    ticket: int
    started_us: int
    endpoint: int
    path: str
    body: bytes
    peek: "Peek"
    request_id: str
    status: int = 0
    """Of the answer, once its headers left."""
    usage: Usage | None = None
    """As the upstream told it; None = it did not, or absurdly."""
    produced: int = 0
    """Bytes of text that were produced, where no usage tells better."""
    first_us: int = -1
    """From the start until the first byte of a streamed answer."""
    ended: bool = False
    cost: int = -1
    durable: bool = False
    """The end of the answer waits until its row is on disk."""

    def begun(self) -> None:
        """A streamed answer's first bytes are here."""
        if self.first_us < 0:
            self.first_us = self.gate.now_us() - self.started_us

    def end(self, outcome: int, status: int) -> int:
        """Settle, if it is not settled yet; answer the cost in nano-USD, -1 = unknown."""
        if self.ended:
            return self.cost
        self.ended = True
        given, cached, made = self.usage or self._estimated(outcome)
        gate = self.gate
        latency = gate.now_us() - self.started_us
        self.cost = cost = gate.settle(self.ticket, given, cached, made, status, outcome, latency, self.first_us)
        return cost

    def bill(self, usage: Usage) -> str | None:
        """Settle a stream at its last usage chunk, and say what to write into it."""
        self.usage = usage
        cost = self.end(Outcome.OK, self.status)
        return None if cost < 0 else usd(cost)

    async def recorded(self) -> None:
        """Wait until the row is on disk. TimeoutError: it is not, and the answer must not say that all is well."""
        async with asyncio.timeout(_RECORD_S):
            while not self.gate.recorded(self.ticket):
                await asyncio.sleep(_LOOK_S)

    def _estimated(self, outcome: int) -> Usage:
        """The charge where no usage came: what was produced, and the input wherever an upstream has read it."""
        if not self.produced and outcome in (Outcome.UPSTREAM_ERROR, Outcome.TIMEOUT):
            return _NOTHING
        return self.gate.reserved(self.ticket)[0], 0, estimate(self.produced)


def answer_headers(call: Call, own: HeaderList, cost: int, *, ietf: bool) -> HeaderList:
    """The rate limits as they are now, the answer's own headers, and ours; ``cost`` -1 = not known yet, or never."""
    headers = call.gate.answer_headers(call.index, own, call.request_id, call.started_us, cost)
    if ietf:
        headers += ietf_headers(headers)
    return headers
