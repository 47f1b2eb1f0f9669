"""Budget windows in UTC: their numbers and their first and last days. Pure functions of a time."""

from datetime import date, timedelta
from functools import lru_cache

from nemorouter.types import Duration

DAY_MS = 86_400_000
_EPOCH = date(1970, 1, 1)
_NEVER = (1 << 32) - 1  # a day far beyond the calendar
AHEAD = 2
"""How many windows a money word may be ahead of the wall clock and still be believed; more is taken for long ago."""
_MONDAY = 3  # 1970-01-01 was a Thursday: weeks start three days before it


def window_number(duration: int, wall_ms: int) -> int:
    """The number of the window in which ``wall_ms`` lies; numbers of one duration rise with time."""
    return _number(duration, wall_ms // DAY_MS)


def is_current(word: int, now: int) -> bool:
    """True if a money word of window ``word`` counts in window ``now``: the same, or ahead since the clock was set back."""
    return 0 <= word - now <= AHEAD


def window_start_ms(duration: int, number: int) -> int:
    """Unix milliseconds at which window ``number`` starts."""
    return window_days(duration, number)[0] * DAY_MS


@lru_cache
def _number(duration: int, day: int) -> int:
    match duration:
        case Duration.DAILY:
            return day
        case Duration.WEEKLY:
            return (day + _MONDAY) // 7
        case Duration.MONTHLY:
            at = _EPOCH + timedelta(days=day)
            return at.year * 12 + at.month - 1
        case _:
            return 0


@lru_cache
def window_days(duration: int, number: int) -> tuple[int, int]:
    """First day and day after the last of window ``number``, in days since 1970-01-01."""
    match duration:
        case Duration.DAILY:
            return number, number + 1
        case Duration.WEEKLY:
            return number * 7 - _MONDAY, number * 7 - _MONDAY + 7
        case Duration.MONTHLY:
            return _first_of_month(number), _first_of_month(number + 1)
        case _:
            return 0, _NEVER


def _first_of_month(number: int) -> int:
    return (date(number // 12, number % 12 + 1, 1) - _EPOCH).days
