"""Usage: what was asked and spent, by day or hour, grouped by key, team, person or model.

Days are exactly the ledger's sums, kept for ever. Hours are added up from the request log, as far
back as it is kept.
"""

from datetime import date
from typing import Any, Final

import msgspec
from sqlalchemy import Select, case, exists, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter.errors import RefusedError
from nemorouter.roles import Actor, Visibility, require
from nemorouter.services.fields.values import usd_text
from nemorouter.services.transaction.clock import day_text, iso, now_ms
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.lookup import TABLES, find, text_id
from nemorouter.store.schema import requests, spend_daily, spend_scope
from nemorouter.store.sums import DAY_MS, OTHER
from nemorouter.types import Kind

GROUPS: Final = ("key", "team", "user", "model")
INTERVALS: Final = ("day", "hour")
MAX_DAYS: Final = 800
MAX_HOUR_DAYS: Final = 31
_MOST_ROWS: Final = 100_000
_HOUR_MS: Final = 3_600_000
_TOKENS: Final = ("input_tokens", "cached_tokens", "output_tokens", "cost_nano")


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of one day or hour and one member of the group.

    ``unknown_cost``: requests whose model had no price.
    """

    day: str
    start: str | None  # of the day or hour
    group: str  # id of the key, team or person ("" = no person), or the model
    name: str
    requests: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost: str
    unknown_cost: int


async def usage(
    context: Context,
    actor: Actor,
    *,
    since: str | None = None,
    until: str | None = None,
    group_by: str = "key",
    interval: str = "day",
    key: str | None = None,
    team: str | None = None,
) -> list[UsageRow]:
    """Sum usage from the day ``since`` to ``until``, both included (UTC), oldest first.

    The default is the last 30 days, of hours the last 2.
    """
    visibility = require(actor, "usage.read")
    if group_by not in GROUPS:
        raise RefusedError(f"group_by must be one of {', '.join(GROUPS)}.", field="group_by")
    if interval not in INTERVALS:
        raise RefusedError(f"interval must be one of {', '.join(INTERVALS)}.", field="interval")
    hourly = interval == "hour"
    first, last = days(since, until, *((MAX_HOUR_DAYS, 2) if hourly else (MAX_DAYS, 30)))
    query, table = _by_hour(first, last) if hourly else _by_day(first, last)
    group = table.model if group_by == "model" else table[f"{group_by}_id"]
    query = (
        query.add_columns(group).where(table.org_id == actor.org).group_by(group).order_by(group)
    )
    if visibility is Visibility.OWN:
        query = query.where(table.user_id == actor.user)
    names: dict[int, str] = {}
    async with context.store.read() as connection:
        if key is not None:
            query = query.where(
                table.key_id == (await find(connection, actor, Kind.KEY, key, visibility)).id
            )
        if team is not None:
            query = query.where(
                table.team_id == (await find(connection, actor, Kind.TEAM, team)).id
            )
        rows = (await connection.execute(query.limit(_MOST_ROWS))).all()
        if group_by != "model":
            names = await _names(
                connection, Kind[group_by.upper()], sorted({row[-1] for row in rows})
            )
    if group_by == "model":
        return [_row(row, hourly, row[-1], row[-1]) for row in rows]
    kind = Kind[group_by.upper()]
    return [
        _row(row, hourly, text_id(kind, row[-1]) if row[-1] else "", names.get(row[-1], ""))
        for row in rows
    ]


def _by_day(first: int, last: int) -> tuple[Select[Any], Any]:
    """Day number and sums; and the table they come from."""
    table = spend_daily.c
    sums = [func.sum(table[name]) for name in (*_TOKENS, "unknown_cost")]
    query = select(table.day.label("at"), func.sum(table.requests), *sums)
    return query.where(table.day >= first, table.day <= last).group_by(table.day).order_by(
        table.day
    ), table


def _by_hour(first: int, last: int) -> tuple[Select[Any], Any]:
    """Sum the request log by hours since 1970."""
    table = _log()
    hour = (table.at_ms // _HOUR_MS).label("at")
    unknown = func.sum(case((table.cost_nano.is_(None), 1), else_=0))
    query = select(
        hour, func.count(), *(func.coalesce(func.sum(table[name]), 0) for name in _TOKENS), unknown
    )
    within = (table.at_ms >= first * DAY_MS, table.at_ms < (last + 1) * DAY_MS)
    return query.where(*within).group_by(hour).order_by(hour), table


def _log() -> Any:  # noqa: ANN401 - columns by name
    """Return the columns of the request log, with the model under which the sums hold a row."""
    log = requests.c
    named = spend_scope.c
    has_name = exists().where(
        named.kind == int(Kind.ORG),
        named.scope_id == log.org_id,
        named.day == log.at_ms // DAY_MS,
        named.model == log.model,
    )
    served = log.status.between(200, 299) | (func.coalesce(log.cost_nano, 0) > 0)
    model = case((served & has_name, log.model), else_=OTHER).label("model")
    others = [column for column in log if column is not log.model]
    return select(*others, model).subquery().c


def days(
    since: str | None, until: str | None, most: int = MAX_DAYS, default: int = 30
) -> tuple[int, int]:
    """Day numbers of two dates, both included."""
    last = _day(until, "until") if until is not None else now_ms() // DAY_MS
    first = _day(since, "since") if since is not None else last - default + 1
    if first > last:
        raise RefusedError("since must not lie after until.", field="since")
    if last - first >= most:
        raise RefusedError(f"At most {most} days at a time.", field="since")
    return first, last


def _day(text: str, field: str) -> int:
    try:
        return (date.fromisoformat(text) - date(1970, 1, 1)).days
    except ValueError:
        raise RefusedError(f"{field} must be a day such as 2026-11-25.", field=field) from None


async def _names(connection: AsyncConnection, kind: Kind, ids: list[int]) -> dict[int, str]:
    table = TABLES[kind]
    names: dict[int, str] = {}
    for start in range(0, len(ids), 500):
        query = select(table.c.id, table.c.name).where(table.c.id.in_(ids[start : start + 500]))
        names |= {id: name for id, name in await connection.execute(query)}
    return names


def _row(row: Any, hourly: bool, group: str, name: str) -> UsageRow:  # noqa: ANN401 - a row of sums
    at, requests, input, cached, output, cost, unknown, _ = row
    start_ms = at * (_HOUR_MS if hourly else DAY_MS)
    return UsageRow(
        day=day_text(start_ms // DAY_MS),
        start=iso(start_ms),
        group=group,
        name=name,
        requests=requests,
        input_tokens=input,
        cached_tokens=cached,
        output_tokens=output,
        cost=usd_text(cost),
        unknown_cost=unknown,
    )
