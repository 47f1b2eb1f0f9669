"""Run both gates side by side: every call goes to each, and the answers must be equal.

This module owns no rule of its own.
"""

from typing import Any

import nemorouter._core as native
import nemorouter.reference as reference
from nemorouter.errors import TicketError
from nemorouter.types import ModelPrice, Policy

PEPPERS = [(2, b"current pepper".ljust(32, b".")), (1, b"previous pepper".ljust(32, b"."))]
SLOTS = 12
START_MS = 1_767_225_600_000 + 86_400_000 * 3  # Sunday 2026-01-04: day, week and month turn soon

REFUSAL_FIELDS = ("code", "index", "kind", "rate", "limit", "used", "retry_after_us")
METER_FIELDS = ("remaining", "committed", "cap", "duration", "frozen")
IDENTITY_FIELDS = ("kind", "id", "org", "team", "user", "name", "last4", "status")


class Pair:
    """Two arenas, journals, clocks and gates that saw the same history."""

    def __init__(self) -> None:
        self.sides: list[Any] = []
        for module in (native, reference):
            clock = module.ManualClock(5_000_000_123, START_MS)
            arena = module.Arena.private(64)
            journal = module.Journal.private(SLOTS, ("echo",))
            gate = module.Gate(arena, journal, PEPPERS, clock)
            self.sides.append((clock, arena, journal, gate))
        self.boot_us = 5_000_000_123
        self.wall_us = START_MS * 1000
        self._numbers: dict[int, int] = {}  # native ticket -> reference ticket

    @property
    def wall_ms(self) -> int:
        return self.wall_us // 1000

    def advance(self, us: int) -> None:
        self.boot_us += us
        self.wall_us += us
        for clock, *_ in self.sides:
            clock.advance(us)

    def set_wall(self, wall_ms: int) -> None:
        self.wall_us = wall_ms * 1000
        for clock, *_ in self.sides:
            clock.set_wall(wall_ms)

    def put(self, policy: Policy) -> int:
        index: int = self._same("put", *(arena.put(policy) for _, arena, *_ in self.sides))
        return index

    def put_price(self, price: ModelPrice) -> None:
        for _, arena, *_ in self.sides:
            arena.put_price(price)

    def identify(self, value: str | bytes | None, ip: str, endpoint: int) -> int:
        found: int = self._same(
            "identify", *(gate.identify(value, ip, endpoint) for *_, gate in self.sides)
        )
        return found

    def admit(self, *request: Any) -> int | dict[str, Any]:
        """Return the native ticket, or the refusal as a dict."""
        mine, theirs = (gate.admit(*request) for *_, gate in self.sides)
        if isinstance(mine, int) and isinstance(theirs, int):
            self._numbers[mine] = theirs
            self._same(
                "reserved",
                *(
                    gate.reserved(n)
                    for (*_, gate), n in zip(self.sides, (mine, theirs), strict=True)
                ),
            )
            return mine
        refusal: dict[str, Any] = self._same(
            "admit", *(fields(side, REFUSAL_FIELDS) for side in (mine, theirs))
        )
        return refusal

    def settle(self, ticket: int, *usage: int | None) -> int | TicketError | None:
        """Return the cost (None = no price), or the TicketError that both gates raise."""
        errors: list[TicketError] = []
        answers: list[int | None] = []
        for (*_, gate), number in zip(self.sides, (ticket, self._numbers[ticket]), strict=True):
            try:
                answers.append(gate.settle(number, *usage))
            except TicketError as error:
                errors.append(error)
        assert len(errors) in (0, len(self.sides)), errors
        if errors:
            return errors[0]
        cost: int | None = self._same("settle", *answers)
        return cost

    def drain(self, limit: int) -> list[tuple[Any, ...]]:
        """Rows without slot, journal_id and seq, which are each side's own; freed on both."""
        rows = [journal.rows(limit) for _, _, journal, _ in self.sides]
        for (_, _, journal, _), mine in zip(self.sides, rows, strict=True):
            journal.free([row.slot for row in mine])
        kept = [[row[3:] for row in mine] for mine in rows]
        if limit >= SLOTS:  # which rows come first is each side's own choice
            self._same("rows", *(sorted(mine, key=repr) for mine in kept))
        return kept[0]

    def window(self, index: int) -> tuple[int, int]:
        days: tuple[int, int] = self._same(
            "window", *(arena.window(index, self.wall_ms) for _, arena, *_ in self.sides)
        )
        return days

    def recount(self, index: int, first_day: int, ledger_nano: int) -> None:
        for _, arena, journal, _ in self.sides:
            assert arena.recount(index, first_day, ledger_nano, [journal])

    def frozen(self) -> list[int]:
        indices: list[int] = self._same(
            "frozen", *(sorted(arena.frozen()) for _, arena, *_ in self.sides)
        )
        return indices

    def deferred(self) -> list[int]:
        indices: list[int] = self._same(
            "deferred", *(sorted(journal.deferred()) for _, _, journal, _ in self.sides)
        )
        return indices

    def finish_deferred(self) -> None:
        for _, _, journal, _ in self.sides:
            journal.finish_deferred()

    def meters(self) -> list[dict[str, Any]]:
        """Of all scopes, as of now."""
        seen = [
            [
                fields(arena.meters(i, self.boot_us, self.wall_ms), METER_FIELDS)
                for i in range(arena.scopes)
            ]
            for _, arena, *_ in self.sides
        ]
        answer: list[dict[str, Any]] = self._same("meters", *seen)
        return answer

    def compare_rest(self, keys: list[int]) -> None:
        """Compare what no verdict shows: headers, identities, counters, free slots, clock."""
        for index in keys:
            self._same("rate_headers", *(gate.rate_headers(index) for *_, gate in self.sides))
            self._same(
                "may_use",
                *([gate.may_use(index, m) for m in ("m", "gpt-4o")] for *_, gate in self.sides),
            )
        self._same(
            "identity",
            *(
                [fields(arena.identity(i), IDENTITY_FIELDS) for i in range(arena.scopes)]
                for _, arena, *_ in self.sides
            ),
        )
        self._same("counters", *(journal.counters() for _, _, journal, _ in self.sides))
        self._same("free_slots", *(journal.free_slots for _, _, journal, _ in self.sides))
        self._same("now_us", *(gate.now_us() for *_, gate in self.sides))

    def refusal_counts(self, before_minute: int) -> None:
        self._same(
            "refusal_counts",
            *(
                sorted(journal.take_refusal_counts(before_minute))
                for _, _, journal, _ in self.sides
            ),
        )

    def _same(self, what: str, mine: Any, theirs: Any) -> Any:
        assert mine == theirs, f"{what}: native {mine!r}, reference {theirs!r}"
        return mine


def fields(value: Any, names: tuple[str, ...]) -> Any:
    """Return the named attributes; a value without them, such as a ticket, as it is."""
    return value if isinstance(value, int) else {name: getattr(value, name) for name in names}
