"""An admitted request from its ticket to its end, in pure Python. However often it is ended, it
settles once.
"""

from typing import TYPE_CHECKING

from nemorouter.types import NANO, Outcome

if TYPE_CHECKING:
    from nemorouter._core import Peek
    from nemorouter.reference.gate import Gate

_TOKEN_BYTES = 4
Usage = tuple[int, int, int]


class Call:
    """Same meaning as ``nemorouter._core.Call``."""

    code = 0

    def __init__(
        self,
        gate: "Gate",
        index: int,
        ticket: int,
        started_us: int,
        endpoint: int,
        body: bytes,
        peek: "Peek",
    ) -> None:
        self.gate = gate
        self.index = index
        self.ticket = ticket
        self.started_us = started_us
        self.endpoint = endpoint
        self.body = body
        self.peek = peek
        self.request_id = gate.request_id(ticket)
        self.status = 0
        self.usage: Usage | None = None
        self.produced = 0
        self.first_us = -1
        self.ended = False
        self.cost = -1

    def begun(self) -> None:
        """A streamed answer's first bytes are here."""
        if self.first_us < 0:
            self.first_us = self._age_us()

    def end(self, outcome: int, status: int, usage: Usage | None = None) -> int:
        """Settle, if it is not settled yet; answer the cost in nano-USD, -1 = unknown."""
        if not self.ended:
            self.ended = True
            self.usage = usage or self.usage
            used = self.usage or self._estimated(outcome)
            self.cost = self.gate.settle(
                self.ticket, *used, status, outcome, self._age_us(), self.first_us
            )
        return self.cost

    def bill(self, usage: Usage) -> str | None:
        """Settle a stream at its last usage chunk, and say what to write into it."""
        cost = self.end(Outcome.OK, self.status, self.usage or usage)
        return None if cost < 0 else _usd(cost)

    def headers(self, own: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """The rate headers, then ``own``, then request id, latency, and the cost once it is known."""
        latency = self._age_us()
        headers = [
            *self.gate.rate_headers(self.index),
            *own,
            ("x-nemo-request-id", self.request_id),
            ("x-nemo-latency-ms", f"{latency // 1000}.{latency % 1000:03d}"),
        ]
        if self.cost >= 0:
            headers.append(("x-nemo-request-cost", _usd(self.cost)))
        return headers

    def _age_us(self) -> int:
        return max(0, self.gate.now_us() - self.started_us)

    def _estimated(self, outcome: int) -> Usage:
        """The charge where no usage came: what was produced, and the input wherever an upstream has
        read it.
        """
        if not self.produced and outcome in (Outcome.UPSTREAM_ERROR, Outcome.TIMEOUT):
            return 0, 0, 0
        return self.gate.reserved(self.ticket)[0], 0, -(-self.produced // _TOKEN_BYTES)


def _usd(nano: int) -> str:
    return f"{nano // NANO}.{nano % NANO:09d}"
