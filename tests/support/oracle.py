"""I-WINDOW for all windows at once, in O(n) and in integers: what any test of a limit is judged by.

Over every window the tokens taken are at most burst + limit * elapsed / 60 s, to the share of a
token.
"""

from collections.abc import Iterable

PERIOD_US = 60_000_000

Event = tuple[int, int]
"""Boot time in microseconds, and tokens: positive when reserved, negative when refunded. Debt is
not an event.
"""


def worst_window(events: Iterable[Event], limit: int) -> int:
    """The most tokens by which any window took more than was issued in it, rounded up; it must not
    exceed the burst.

    ``events`` in the order of their times. Every window that matters starts at an event and ends at
    one.
    """
    worst = 0
    taken = 0
    lowest: int | None = None
    for at_us, tokens in events:
        issued = at_us * limit
        lowest = taken - issued if lowest is None else min(lowest, taken - issued)
        taken += tokens * PERIOD_US
        worst = max(worst, taken - issued - lowest)
    return -(-worst // PERIOD_US)


def issued(limit: int, elapsed_us: int) -> int:
    """Whole tokens issued in a window of that length, wherever it starts."""
    return elapsed_us * limit // PERIOD_US
