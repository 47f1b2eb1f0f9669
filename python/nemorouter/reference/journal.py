"""The tickets of one worker, from admission until they are freed, and its counts. In private memory only."""

import secrets
from collections.abc import Sequence
from enum import IntEnum
from threading import Lock

from nemorouter.errors import Code
from nemorouter.reference.scope import Scope
from nemorouter.types import Kind, ModelPrice, Outcome

GATE_CODES = tuple(code for code in Code if code <= Code.NOT_READY)


class State(IntEnum):
    """Where a ticket stands."""

    OPEN = 1
    DEFERRED = 2  # ended, but a frozen money word has not seen its true cost
    ENDED = 3


class Slot:
    """One ticket: what was reserved for whom, and how it ended."""

    __slots__ = (
        "at_ms",
        "boot",
        "cached",
        "charged",
        "cost",
        "endpoint",
        "input",
        "latency_us",
        "model",
        "outcome",
        "output",
        "payers",
        "price",
        "reserved_cost",
        "reserved_in",
        "reserved_out",
        "seq",
        "state",
        "status",
        "stream",
        "ttft_us",
        "units",
        "upstream",
    )

    def __init__(
        self,
        boot: int,
        seq: int,
        at_ms: int,
        payers: tuple[Scope, ...],
        charged: tuple[Scope, ...],
        price: ModelPrice | None,
    ) -> None:
        self.boot = boot
        self.seq = seq
        self.at_ms = at_ms
        self.payers = payers
        self.charged = charged  # those whose token bucket was charged
        self.price = price  # as of admission; None = unknown
        self.state = State.OPEN
        self.model = ""
        self.endpoint = self.upstream = self.units = self.status = self.outcome = self.latency_us = 0
        self.stream = False
        self.reserved_in = self.reserved_out = self.reserved_cost = 0
        self.input = self.cached = self.output = 0
        self.cost: int | None = None
        self.ttft_us: int | None = None

    @property
    def committed(self) -> int:
        """What the money words hold, or will hold, for this ticket."""
        return self.reserved_cost if self.state == State.OPEN else self.cost or 0

    def row(self) -> tuple[int | str | None, ...]:
        """The ticket as the ledger takes it, in the order of ``_core.Row``."""
        ids = {scope.policy.kind: scope.policy.id for scope in self.payers}
        return (
            self.seq,
            self.boot,
            self.seq,
            self.at_ms,
            ids[Kind.KEY],
            ids[Kind.TEAM],
            ids.get(Kind.USER, 0),
            ids[Kind.ORG],
            self.model,
            self.upstream,
            self.endpoint,
            self.status,
            self.outcome,
            int(self.stream),
            self.input,
            self.cached,
            self.output,
            self.cost,
            self.reserved_cost,
            self.latency_us,
            self.ttft_us,
        )


class Journal:
    """A bounded table of tickets. Its lock is that of the arena from the moment a gate joins the two."""

    def __init__(self, slots: int, upstreams: Sequence[str]) -> None:
        self.boot = secrets.randbits(63)
        self.slots = slots
        self.upstreams = list(upstreams)
        self.path: str | None = None
        self.lock = Lock()
        self.live: dict[int, Slot] = {}
        self.counts = dict.fromkeys(["admitted", "settled", "tallies_dropped"], 0)
        self.counts |= {f"refused_{code.name.lower()}": 0 for code in GATE_CODES}
        self._next = 0
        self._tallies: dict[tuple[int, int, int], int] = {}
        self._listed: list[Slot] = []

    @staticmethod
    def private(slots: int = 1024, upstreams: Sequence[str] = ()) -> "Journal":
        """In private memory, for one process."""
        return Journal(slots, upstreams)

    @property
    def free_slots(self) -> int:
        """How many more tickets can be open or undrained."""
        return self.slots - len(self.live)

    def open(self, at_ms: int, payers: tuple[Scope, ...], charged: tuple[Scope, ...], price: ModelPrice | None) -> Slot:
        """Take a slot for an admitted request; the caller holds the lock and has seen that one is free."""
        seq = self._next
        self._next += 1
        slot = self.live[seq] = Slot(self.boot, seq, at_ms, payers, charged, price)
        self.counts["admitted"] += 1
        return slot

    def refused(self, code: int, key_id: int | None, wall_ms: int) -> None:
        """Count a refusal, and tally it by the minute if the key is known. The caller holds the lock."""
        self.counts[_REFUSED[code]] += 1
        if key_id is not None:
            tally = (wall_ms // 60_000, key_id, code)
            self._tallies[tally] = self._tallies.get(tally, 0) + 1

    def recover(self) -> list[int]:
        """End what is open (outcome RECOVERED, charged as reserved) and list the scope indices to recount."""
        touched: set[int] = set()
        with self.lock:
            for slot in self.live.values():
                if slot.state == State.OPEN:
                    slot.outcome = Outcome.RECOVERED
                    slot.input, slot.output = slot.reserved_in, slot.reserved_out
                    slot.cost = None if slot.price is None else slot.reserved_cost
                slot.state = State.ENDED
                touched.update(scope.index for scope in slot.payers)
        return sorted(touched)

    def deferred(self) -> list[int]:
        """Scope indices to recount because a settlement met a frozen word."""
        with self.lock:
            self._listed = [slot for slot in self.live.values() if slot.state == State.DEFERRED]
            return sorted({scope.index for slot in self._listed for scope in slot.payers})

    def finish_deferred(self) -> None:
        """After those recounts: the slots that the last ``deferred`` listed become rows."""
        with self.lock:
            for slot in self._listed:
                slot.state = State.ENDED
            self._listed = []

    def rows(self, limit: int = 1000) -> list[tuple[int | str | None, ...]]:
        """Up to ``limit`` ended tickets, oldest first; they stay until ``free``."""
        with self.lock:
            return [slot.row() for slot in self.live.values() if slot.state == State.ENDED][:limit]

    def free(self, slots: Sequence[int]) -> None:
        """Give slots back after the store's commit."""
        with self.lock:
            for seq in slots:
                slot = self.live.get(seq)
                if slot is not None and slot.state == State.ENDED:
                    del self.live[seq]

    def tallies(self, before_minute: int) -> list[tuple[int, int, int, int]]:
        """Take out the refusal counts of minutes before ``before_minute``."""
        with self.lock:
            taken = {tally: count for tally, count in self._tallies.items() if tally[0] < before_minute}
            for tally in taken:
                del self._tallies[tally]
        return [(*tally, count) for tally, count in taken.items()]

    def counters(self) -> dict[str, int]:
        """Cumulative: admitted, settled, tallies_dropped, and refused_<code name>."""
        return dict(self.counts)


_REFUSED = {int(code): f"refused_{code.name.lower()}" for code in GATE_CODES}
