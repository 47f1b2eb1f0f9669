"""Compute what rows of the request log add to the ledger's sums. Pure: no store is spoken to."""

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

OTHER: Final = "other"
"""The model under which the sums hold what has no place of its own there."""
MAX_MODELS: Final = 200
"""Names of models that the sums of an org hold a day, ``OTHER`` aside."""
MAX_UNPRICED: Final = 100
"""The number of names up to which a model without a price gets a place.

Whoever invents names then takes no place from what costs something.
"""

Line = tuple[Any, ...]
"""A row of a table of sums: its key, then what is added."""


Named = dict[tuple[int, int], set[str]]
"""Names of models that the sums hold already, by org and day."""


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


def places(rows: Iterable[Row]) -> set[tuple[int, int]]:
    """Return the orgs and days to whose sums rows add."""
    return {(row.org_id, row.at_ms // DAY_MS) for row in rows}


def served(status: int, cost_nano: int | None) -> bool:
    """Return true for a request that an upstream served: only its model gets a name in the sums."""
    return 200 <= status < 300 or bool(cost_nano)


def has_room(there: set[str], *, priced: bool) -> bool:
    """Return true if one more model gets a name beside those that are ``there``."""
    return len(there) < (MAX_MODELS if priced else MAX_UNPRICED)


def sums(rows: Iterable[Row], named: Named) -> Sums:
    """Add up rows that are new to the ledger.

    ``named`` holds what each org and day of ``places`` has; names that get a place are added to it.
    """
    daily = _named(_daily(rows), named)
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
        model = row.model if served(row.status, cost) else OTHER
        entry = (at // DAY_MS, row.org_id, row.team_id, row.user_id, row.key_id, model)
        total = found.get(entry)
        if total is None:
            total = [0, 0, 0, 0, 0, 0, 0]
            found[entry] = total
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


def _named(daily: dict[Line, list[int]], named: Named) -> dict[Line, list[int]]:
    """Give each model its place, in the order of the rows, or add it to ``OTHER``."""
    found: dict[Line, list[int]] = {}
    for entry, total in daily.items():
        day, org, *_, model = entry
        there = named.setdefault((org, day), set())
        if model not in there and model != OTHER:
            if has_room(there, priced=total[0] > total[5]):
                there.add(model)
            else:
                entry = (*entry[:-1], OTHER)
        before = found.get(entry)
        if before is not None:
            last = max(before.pop(), total.pop())
            total = [*map(add, before, total), last]
        found[entry] = total
    return found


def _scopes(daily: Sequence[Line]) -> list[Line]:
    """Add lines up by org, team and user; a key without a user adds to no user."""
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
    """Return the first day, and the day after the last, of the budget window in which ``day`` lies.

    Days are counted from 1970-01-01 UTC.
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
