"""One ticket: what was reserved for whom, and how it ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from nemorouter.reference.scope import Scope
from nemorouter.reference.values import Row
from nemorouter.types import Kind, ModelPrice


class State(IntEnum):
    """The states of a ticket."""

    OPEN = 1
    DEFERRED = 2  # ended, but a frozen money word has not seen its true cost
    ENDED = 3


@dataclass(slots=True)
class Slot:
    """A ticket, from admission until its row is in the ledger."""

    seq: int
    at_ms: int
    payers: tuple[Scope, ...]
    charged: list[tuple[Scope, int]]  # scope and rate of each bucket that tokens were taken from
    model: str
    endpoint: int
    upstream: int
    stream: bool
    units: int
    price: ModelPrice | None  # as of admission; None = unknown
    reserved_in: int
    reserved_out: int
    reserved_cost: int
    state: State = State.OPEN
    status: int = 0
    outcome: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0
    cost: int | None = None
    latency_us: int = 0
    ttft_us: int | None = None

    @property
    def committed(self) -> int:
        """Return what the money words hold, or will hold, for this ticket."""
        return self.reserved_cost if self.state == State.OPEN else self.cost or 0

    def row(self, journal_id: int, upstreams: Sequence[str]) -> Row:
        """Make the ticket's row of the request log; its sequence number is also its place."""
        ids = {scope.policy.kind: scope.policy.id for scope in self.payers}
        return Row(
            slot=self.seq,
            journal_id=journal_id,
            seq=self.seq,
            at_ms=self.at_ms,
            key_id=ids[Kind.KEY],
            team_id=ids[Kind.TEAM],
            user_id=ids.get(Kind.USER, 0),
            org_id=ids[Kind.ORG],
            model=self.model,
            upstream=upstreams[self.upstream] if self.upstream < len(upstreams) else "",
            endpoint=self.endpoint,
            status=self.status,
            outcome=self.outcome,
            stream=int(self.stream),
            input_tokens=self.input,
            cached_tokens=self.cached,
            output_tokens=self.output,
            cost_nano=self.cost,
            reserved_nano=self.reserved_cost,
            latency_us=self.latency_us,
            ttft_us=self.ttft_us,
        )
