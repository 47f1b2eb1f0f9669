"""I-WINDOW for all windows at once, in O(n) and in integers: what any test of a limit is judged by.

A bucket of ``burst`` tokens at ``limit`` a minute issues whole tokens: E(t) = floor(t * limit / 60 s) of them until t
on the gate's boot clock. Over every window the tokens taken are at most burst + E(end) - E(start).
"""

from collections.abc import Iterable

PERIOD_US = 60_000_000

Event = tuple[int, int]
"""Boot time in microseconds, and tokens: positive when reserved, negative when refunded. Debt is not an event."""


def worst_window(events: Iterable[Event], limit: int) -> int:
    """The largest number of tokens by which any window took more than was issued in it; it must not exceed the burst.

    ``events`` in the order of their times. Every window that matters starts at an event and ends at one.
    """
    worst = taken = 0
    lowest: int | None = None
    for at_us, tokens in events:
        issued = at_us * limit // PERIOD_US
        lowest = taken - issued if lowest is None else min(lowest, taken - issued)
        taken += tokens
        worst = max(worst, taken - issued - lowest)
    return worst


def issued_at_most(limit: int, elapsed_us: int) -> int:
    """Tokens issued in any window of that length, wherever it starts: for who does not have the gate's clock."""
    return -(-elapsed_us * limit // PERIOD_US)


def issued_at_least(limit: int, elapsed_us: int) -> int:
    """Tokens issued in any window of that length, wherever it starts."""
    return elapsed_us * limit // PERIOD_US
