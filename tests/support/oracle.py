"""Check I-WINDOW for all windows at once, in O(n) and in integers, for any test of a limit.

Over every window the tokens taken are at most burst + limit * elapsed / period, to the smallest
part of a token.
"""

from collections.abc import Iterable

MINUTE_US = 60_000_000

Event = tuple[int, int]
"""Boot time in microseconds, and tokens: positive when reserved, negative when refunded. Debt is
not an event.
"""


def worst_window(events: Iterable[Event], limit: int, period_us: int = MINUTE_US) -> int:
    """Return the most tokens by which any window took more than was issued in it, rounded up.

    The result must not exceed the burst.

    ``events`` in the order of their times. Every window that matters starts at an event and ends at
    one.
    """
    worst = 0
    taken = 0
    lowest: int | None = None
    for at_us, tokens in events:
        issued = at_us * limit
        lowest = taken - issued if lowest is None else min(lowest, taken - issued)
        taken += tokens * period_us
        worst = max(worst, taken - issued - lowest)
    return -(-worst // period_us)


def issued(limit: int, elapsed_us: int) -> int:
    """Return the whole tokens issued of a limit a minute in any window of that length."""
    return elapsed_us * limit // MINUTE_US
