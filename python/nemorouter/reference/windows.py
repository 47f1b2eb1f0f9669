"""Budget windows in UTC: their numbers and their first and last days. Pure functions of a time."""

from datetime import date, timedelta
from functools import lru_cache

from nemorouter.types import Duration

DAY_MS = 86_400_000
_EPOCH = date(1970, 1, 1)
_NEVER = (1 << 32) - 1  # a day far beyond the calendar
_BELIEVED_AHEAD = 31
_MONDAY = 3  # 1970-01-01 was a Thursday: weeks start three days before it


Window = tuple[int, int]
"""Duration and number of a window. Numbers of one duration rise with time."""


def window_at(duration: int, wall_ms: int) -> Window:
    """Return the window in which ``wall_ms`` lies."""
    return _window(duration, wall_ms // DAY_MS)


def ahead(word: Window, now: Window) -> int:
    """Return by how many windows a money word is ahead of ``now``: 0 to 31.

    It is ahead where the wall clock was set back. -1: the word does not count in ``now``; further
    ahead is taken for long ago.
    """
    by = word[1] - now[1]
    return by if word[0] == now[0] and 0 <= by <= _BELIEVED_AHEAD else -1


def window_start_ms(window: Window) -> int:
    """Unix milliseconds at which the window starts."""
    return window_days(window)[0] * DAY_MS


@lru_cache
def _window(duration: int, day: int) -> Window:
    return duration, _number(duration, day)


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
def window_days(window: Window) -> tuple[int, int]:
    """First day and day after the last of the window, in days since 1970-01-01."""
    duration, number = window
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
