"""Hold the tickets of one worker, from admission until they are freed, and its counts.

It lies in private memory only.
"""

import secrets
from collections.abc import Sequence
from threading import Lock

from nemorouter.errors import Code
from nemorouter.reference.slot import Slot, State
from nemorouter.reference.values import Row
from nemorouter.types import RATES, Outcome

_OF_RATES = {Code[rate.code.upper()] for rate in RATES}
GATE_CODES = tuple(
    code
    for code in Code
    if code <= Code.NOT_READY or code == Code.LEASE_WANTED or code in _OF_RATES
)


class Journal:
    """A bounded table of tickets.

    Its lock is that of the arena from the moment a gate joins the two.
    """

    def __init__(self, slots: int, upstreams: Sequence[str]) -> None:
        self.journal_id = secrets.randbits(63)
        self.slots = slots
        self.upstreams = list(upstreams)
        self.path: str | None = None
        self.lock = Lock()
        self.live: dict[int, Slot] = {}
        self.counts = dict.fromkeys(["admitted", "settled", "tallies_dropped"], 0)
        self.counts |= {f"refused_{code.name.lower()}": 0 for code in GATE_CODES}
        self._last = 0
        self._refusal_counts: dict[tuple[int, int, int], int] = {}
        self._listed: list[Slot] = []

    @staticmethod
    def private(slots: int = 1024, upstreams: Sequence[str] = ()) -> "Journal":
        """In private memory, for one process."""
        return Journal(slots, upstreams)

    @property
    def free_slots(self) -> int:
        """Return how many more tickets can be open or undrained."""
        return self.slots - len(self.live)

    def next_seq(self) -> int:
        """Draw a number that no ticket of this journal had before. The caller holds the lock."""
        self._last += 1
        return self._last

    def add(self, slot: Slot) -> None:
        """Keep a ticket; the caller holds the lock and saw that a slot is free."""
        self.live[slot.seq] = slot
        self.counts["admitted"] += 1

    def refused(self, code: int, key_id: int | None, wall_ms: int) -> None:
        """Count a refusal, also by the minute if the key is known. The caller holds the lock."""
        self.counts[_REFUSED[code]] += 1
        if key_id is not None:
            counted = (wall_ms // 60_000, key_id, code)
            self._refusal_counts[counted] = self._refusal_counts.get(counted, 0) + 1

    def recover(self) -> list[int]:
        """End what is open, and return the scope indices to recount.

        The outcome is RECOVERED, charged as reserved.
        """
        touched: set[int] = set()
        with self.lock:
            for slot in self.live.values():
                if slot.state == State.OPEN:
                    slot.outcome = Outcome.RECOVERED
                    slot.input = slot.reserved_in
                    slot.output = slot.reserved_out
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

    def rows(self, limit: int = 1000) -> list[Row]:
        """List up to ``limit`` ended tickets, oldest first; they stay until ``free``."""
        with self.lock:
            ended = [slot for slot in self.live.values() if slot.state == State.ENDED][:limit]
            return [slot.row(self.journal_id, self.upstreams) for slot in ended]

    def free(self, slots: Sequence[int]) -> None:
        """Give slots back after the store's commit."""
        with self.lock:
            for seq in slots:
                slot = self.live.get(seq)
                if slot is not None and slot.state == State.ENDED:
                    del self.live[seq]

    def take_refusal_counts(self, before_minute: int) -> list[tuple[int, int, int, int]]:
        """Take out the refusal counts of minutes before ``before_minute``."""
        with self.lock:
            taken = {
                counted: count
                for counted, count in self._refusal_counts.items()
                if counted[0] < before_minute
            }
            for counted in taken:
                del self._refusal_counts[counted]
        return [(*counted, count) for counted, count in taken.items()]

    def counters(self) -> dict[str, int]:
        """Cumulative: admitted, settled, tallies_dropped, and refused_<code name>."""
        return dict(self.counts)


_REFUSED = {int(code): f"refused_{code.name.lower()}" for code in GATE_CODES}
