"""What rows of the request log add to the ledger's sums. Pure: it never speaks to a store."""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from functools import cache
from operator import add
from typing import Any, Final, NamedTuple

from nemorouter._core import Row
from nemorouter.types import Duration, Kind

LOG_COLUMNS: Final[tuple[str, ...]] = Row.__match_args__[1:]
"""The columns of the request log that a row of a journal fills, in its order; the slot is none."""

DAY_MS: Final = 86_400_000
_EPOCH: Final = date(1970, 1, 1)
_OWNERS: Final = (int(Kind.ORG), int(Kind.TEAM), int(Kind.USER))
_FOR_EVER: Final = 1 << 31  # a day no clock reaches

Line = tuple[Any, ...]
"""A row of a table of sums: its key, then what is added."""


class Sums(NamedTuple):
    """Lines for the tables of sums, each key once."""

    daily: list[Line]
    """day, org, team, user, key, model | requests, input, cached, output tokens, nano-USD, requests
    without a price
    """
    scopes: list[Line]
    """kind, id, day, model | the same, for org, team and person"""
    months: list[Line]
    """first day of the month, org, key | requests, nano-USD"""
    used: list[tuple[int, int]]
    """Unix ms of the last request, key"""


def sums(rows: Iterable[Row]) -> Sums:
    """Add up rows that are new to the ledger."""
    daily = _daily(rows)
    last: dict[int, int] = {}
    for (_, _, _, _, key, _), total in daily.items():
        last[key] = max(last.get(key, 0), total.pop())
    lines = [(*entry, *total) for entry, total in daily.items()]
    return Sums(lines, _scopes(lines), _months(lines), [(at, key) for key, at in last.items()])


def _daily(rows: Iterable[Row]) -> dict[tuple[Any, ...], list[int]]:
    """By day, scopes and model; behind the sums stands the time of the last request."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        at = row.at_ms
        cost = row.cost_nano
        entry = (at // DAY_MS, row.org_id, row.team_id, row.user_id, row.key_id, row.model)
        total = found.get(entry)
        if total is None:
            total = found[entry] = [0, 0, 0, 0, 0, 0, 0]
        total[0] += 1
        total[1] += row.input_tokens
        total[2] += row.cached_tokens
        total[3] += row.output_tokens
        if cost is None:
            total[5] += 1
        else:
            total[4] += cost
        if at > total[6]:
            total[6] = at
    return found


def _scopes(daily: Sequence[Line]) -> list[Line]:
    """A key without a person has none to add to."""
    owners: dict[Line, list[int]] = {}
    for day, org, team, user, _, model, *gained in daily:
        _add(owners, (day, org, team, user, model), gained)
    found: dict[Line, list[int]] = {}
    for (day, org, team, user, model), gained in owners.items():
        for kind, id in zip(_OWNERS, (org, team, user), strict=True):
            if id:
                _add(found, (kind, id, day, model), gained)
    return [(*entry, *total) for entry, total in found.items()]


def _months(daily: Sequence[Line]) -> list[Line]:
    found: dict[Line, list[int]] = {}
    for day, org, _, _, key, _, requests, _, _, _, cost, _ in daily:
        _add(found, (month_of(day), org, key), (requests, cost))
    return [(*entry, *total) for entry, total in found.items()]


def _add(found: dict[Line, list[int]], entry: Line, gained: Sequence[int]) -> None:
    there = found.get(entry)
    found[entry] = list(gained if there is None else map(add, there, gained))


def window_days(duration: int, day: int) -> tuple[int, int]:
    """First day, and day after the last, of the budget window in which ``day`` lies (days since
    1970-01-01 UTC).
    """
    if duration == Duration.TOTAL:
        return 0, _FOR_EVER
    if duration == Duration.DAILY:
        return day, day + 1
    if duration == Duration.WEEKLY:
        monday = day - (day + 3) % 7  # day 0 was a Thursday
        return monday, monday + 7
    first = (_EPOCH + timedelta(days=day)).replace(day=1)
    after = (first + timedelta(days=31)).replace(day=1)
    return (first - _EPOCH).days, (after - _EPOCH).days


@cache
def month_of(day: int) -> int:
    """First day of the month in which ``day`` lies."""
    return window_days(Duration.MONTHLY, day)[0]
