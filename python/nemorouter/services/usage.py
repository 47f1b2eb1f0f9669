"""Usage: what was asked and spent, by day, grouped by key, team, person or model. Exactly the ledger's sums."""

from datetime import date
from typing import Any, Final

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter.errors import RefusedError
from nemorouter.roles import Actor, Reach, require
from nemorouter.services.clock import day_text, now_ms
from nemorouter.services.context import Context
from nemorouter.services.scopes import TABLES, text_id
from nemorouter.services.values import usd_text
from nemorouter.store.ledger import DAY_MS
from nemorouter.store.schema import spend_daily
from nemorouter.types import Kind

GROUPS: Final = ("key", "team", "user", "model")
MAX_DAYS: Final = 800
_MOST_ROWS: Final = 100_000


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of one day and one member of the group. ``unknown_cost``: requests whose model had no price."""

    day: str
    group: str  # id of the key, team or person ("" = no person), or the model
    name: str
    requests: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost: str
    unknown_cost: int


async def usage(
    context: Context, actor: Actor, *, since: str | None = None, until: str | None = None, group_by: str = "key"
) -> list[UsageRow]:
    """From the day ``since`` to ``until``, both included (UTC; default: the last 30 days), oldest first."""
    reach = require(actor, "usage.read")
    if group_by not in GROUPS:
        raise RefusedError(f"group_by must be one of {', '.join(GROUPS)}.", field="group_by")
    first, last = days(since, until)
    table = spend_daily.c
    group = table.model if group_by == "model" else table[f"{group_by}_id"]
    sums = [
        func.sum(table[name])
        for name in ("requests", "input_tokens", "cached_tokens", "output_tokens", "cost_nano", "unknown_cost")
    ]
    query = (
        select(table.day, group, *sums)
        .where(table.org_id == actor.org, table.day >= first, table.day <= last)
        .group_by(table.day, group)
        .order_by(table.day, group)
        .limit(_MOST_ROWS)
    )
    if reach is Reach.OWN:
        query = query.where(table.user_id == actor.user)
    async with context.store.read() as connection:
        rows = (await connection.execute(query)).all()
        if group_by == "model":
            return [_row(row, row[1], row[1]) for row in rows]
        kind = Kind[group_by.upper()]
        names = await _names(connection, kind, sorted({row[1] for row in rows}))
    return [_row(row, text_id(kind, row[1]) if row[1] else "", names.get(row[1], "")) for row in rows]


def days(since: str | None, until: str | None) -> tuple[int, int]:
    """Day numbers of two dates, both included."""
    last = _day(until, "until") if until else now_ms() // DAY_MS
    first = _day(since, "since") if since else last - 29
    if first > last:
        raise RefusedError("since must not lie after until.", field="since")
    if last - first >= MAX_DAYS:
        raise RefusedError(f"At most {MAX_DAYS} days at a time.", field="since")
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


def _row(row: Any, group: str, name: str) -> UsageRow:  # noqa: ANN401 - a row of sums
    day, _, requests, input, cached, output, cost, unknown = row
    return UsageRow(
        day=day_text(day),
        group=group,
        name=name,
        requests=requests,
        input_tokens=input,
        cached_tokens=cached,
        output_tokens=output,
        cost=usd_text(cost),
        unknown_cost=unknown,
    )
