"""Sum for the dashboard: totals by day, top spenders, refusals, budgets near their cap.

Every query reads sums by index, so that its cost does not grow with the number of keys or requests.
"""

from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter.errors import CATALOGUE, Code
from nemorouter.roles import Actor, Role, Visibility, require
from nemorouter.services.fields.values import usd_text
from nemorouter.services.transaction.clock import day_text, now_ms
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.lookup import TABLES, find, text_id
from nemorouter.store.schema import (
    keys,
    memberships,
    orgs,
    refusals,
    spend_daily,
    spend_month,
    spend_scope,
    teams,
)
from nemorouter.store.sums import DAY_MS, month_of
from nemorouter.types import Kind, Status

DAYS: Final = 30
_DAY_MINUTES: Final = 1440
_SUMS: Final = (
    "requests",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "cost_nano",
    "unknown_cost",
)


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """The totals of one day and model, or of several of either. ``cost`` is in USD."""

    day: str = ""
    model: str = ""
    requests: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost: str = "0"
    unknown_cost: int = 0


class Spender(msgspec.Struct, frozen=True, kw_only=True):
    """A key or team, and its month."""

    id: str
    name: str
    requests: int
    cost: str


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """The number of requests that were refused for one reason."""

    code: str
    reason: str
    count: int


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """An org that a person may enter."""

    org: int
    id: str
    name: str
    role: Role


async def places(context: Context, actor: Actor) -> list[Place]:
    """List the orgs of the user who acts, by name."""
    query = (
        select(orgs.c.id, orgs.c.name, memberships.c.role)
        .join(memberships, memberships.c.org_id == orgs.c.id)
        .where(memberships.c.user_id == actor.user, orgs.c.status == int(Status.ACTIVE))
        .order_by(orgs.c.name)
    )
    async with context.store.read() as connection:
        rows = (await connection.execute(query)).all()
    return [
        Place(org=row.id, id=text_id(Kind.ORG, row.id), name=row.name, role=Role(row.role))
        for row in rows
    ]


async def daily(
    context: Context, actor: Actor, kind: Kind | None = None, reference: str = "", days: int = DAYS
) -> list[Totals]:
    """List sums by day and model of the last ``days`` days, oldest first.

    They are those of a scope, or of all that the actor may see.
    """
    visibility = require(actor, "usage.read")
    async with context.store.read() as connection:
        table, where = await _scope(connection, actor, visibility, kind, reference)
        first = now_ms() // DAY_MS - days + 1
        sums = [func.sum(table.c[name]).label(name) for name in _SUMS]
        query = (
            select(table.c.day, table.c.model, *sums)
            .where(where, table.c.day >= first)
            .group_by(table.c.day, table.c.model)
            .order_by(table.c.day)
        )
        return [_sums(row) for row in await connection.execute(query)]


async def refused(
    context: Context, actor: Actor, key: str | None = None, days: int = 1
) -> list[Refused]:
    """Count refusals of known keys by reason, most frequent first.

    They are those of one key, or of all that the actor may see. ``days`` counts whole days of UTC
    and today.
    """
    visibility = require(actor, "usage.read")
    since = (now_ms() // DAY_MS - days + 1) * _DAY_MINUTES
    total = func.sum(refusals.c.count)
    query = (
        select(refusals.c.code, total).where(refusals.c.minute >= since).group_by(refusals.c.code)
    )
    async with context.store.read() as connection:
        if key is not None:
            row = await find(connection, actor, Kind.KEY, key, visibility)
            query = query.where(refusals.c.key_id == row.id)
        else:
            mine = (
                keys.c.org_id + 0 == actor.org
            )  # + 0: start at the refusals, which are few, not at the keys
            query = query.join(keys, keys.c.id == refusals.c.key_id).where(mine)
            if visibility is Visibility.OWN:
                query = query.where(keys.c.user_id == actor.user)
        rows = (await connection.execute(query.order_by(total.desc()))).all()
    return [
        Refused(code=_code(code), reason=_reason(code), count=int(count)) for code, count in rows
    ]


async def top_keys(context: Context, actor: Actor, limit: int = 5) -> list[Spender]:
    """List the keys that spent most this month."""
    visibility = require(actor, "usage.read")
    table = spend_month.c
    query = (
        select(keys.c.id, keys.c.name, table.requests, table.cost_nano)
        .join(keys, keys.c.id == table.key_id)
        .where(table.org_id == actor.org, table.month == month_of(now_ms() // DAY_MS))
        .order_by(table.cost_nano.desc())
        .limit(limit)
    )
    if visibility is Visibility.OWN:
        query = query.where(keys.c.user_id == actor.user)
    async with context.store.read() as connection:
        return [_spender(Kind.KEY, row) for row in await connection.execute(query)]


async def top_teams(context: Context, actor: Actor, limit: int = 5) -> list[Spender]:
    """List the teams that spent most this month.

    An actor who sees only their own keys gets none.
    """
    if require(actor, "usage.read") is Visibility.OWN:
        return []
    table = spend_scope.c
    cost = func.sum(table.cost_nano).label("cost_nano")
    query = (
        select(teams.c.id, teams.c.name, func.sum(table.requests).label("requests"), cost)
        .join(spend_scope, (table.kind == int(Kind.TEAM)) & (table.scope_id == teams.c.id))
        .where(teams.c.org_id == actor.org, table.day >= month_of(now_ms() // DAY_MS))
        .group_by(teams.c.id)
        .order_by(cost.desc())
        .limit(limit)
    )
    async with context.store.read() as connection:
        return [_spender(Kind.TEAM, row) for row in await connection.execute(query)]


async def choices(
    context: Context, actor: Actor, kind: Kind, limit: int = 1000
) -> list[tuple[str, str]]:
    """Ids and names of teams, or ids and e-mail addresses of people, to choose from."""
    require(actor, "member.read" if kind is Kind.USER else "team.read")
    table = TABLES[kind]
    label = table.c.email if kind is Kind.USER else table.c.name
    query = select(table.c.id, label).where(
        table.c.org_id == actor.org, table.c.status != int(Status.REVOKED)
    )
    async with context.store.read() as connection:
        rows = await connection.execute(query.order_by(label).limit(limit))
        return [(text_id(kind, id), text) for id, text in rows]


async def names(context: Context, actor: Actor, kind: Kind, ids: list[int]) -> dict[str, str]:
    """Names of scopes of the org, by text id; what is not the org's has none."""
    table = TABLES[kind]
    found: dict[str, str] = {}
    async with context.store.read() as connection:
        for start in range(0, len(ids), 500):
            query = select(table.c.id, table.c.name).where(
                table.c.org_id == actor.org, table.c.id.in_(ids[start : start + 500])
            )
            found |= {text_id(kind, id): name for id, name in await connection.execute(query)}
    return found


async def _scope(
    connection: AsyncConnection,
    actor: Actor,
    visibility: Visibility,
    kind: Kind | None,
    reference: str,
) -> tuple[Table, ColumnElement[bool]]:
    """Return the table and the condition of a scope's sums."""
    if kind is Kind.KEY:
        row = await find(connection, actor, kind, reference, visibility)
        return spend_daily, spend_daily.c.key_id == row.id
    own = visibility is Visibility.OWN
    if kind is None:
        kind, id = (Kind.USER, actor.user) if own else (Kind.ORG, actor.org)
    else:
        id = (await find(connection, actor, kind, reference)).id
        if own and kind is not Kind.USER:  # a member sees their part of a team
            column = spend_daily.c[f"{kind.name.lower()}_id"]
            return spend_daily, (column == id) & (spend_daily.c.user_id == actor.user)
        if own and id != actor.user:
            id = 0
    return spend_scope, (spend_scope.c.kind == int(kind)) & (spend_scope.c.scope_id == id)


def _sums(row: Any) -> Totals:  # noqa: ANN401 - a row of sums
    counts = {name: int(getattr(row, name)) for name in _SUMS if name != "cost_nano"}
    return Totals(
        day=day_text(row.day), model=row.model, cost=usd_text(int(row.cost_nano)), **counts
    )


def _spender(kind: Kind, row: Any) -> Spender:  # noqa: ANN401 - a row of sums
    cost = usd_text(int(row.cost_nano))
    return Spender(id=text_id(kind, row.id), name=row.name, requests=int(row.requests), cost=cost)


def _code(number: int) -> str:
    return CATALOGUE[Code(number)].code if number in CATALOGUE else str(number)


def _reason(number: int) -> str:
    try:
        return Code(number).name.replace("_", " ").capitalize()
    except ValueError:
        return str(number)
