"""Shape what the services answer as the public JSON: text ids, decimal money, RFC 3339 times.

A view never holds a secret.
"""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, Select, case, func, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter.roles import Role
from nemorouter.services.fields.rates import add_rates, rates_of
from nemorouter.services.fields.values import endpoint_names, usd_text
from nemorouter.services.transaction.clock import iso
from nemorouter.services.transaction.lookup import TABLES, text_id
from nemorouter.store.schema import budgets, memberships, spend_daily, spend_month, spend_scope
from nemorouter.store.sums import DAY_MS, window_days
from nemorouter.types import Duration, Kind, Status


class BudgetView(msgspec.Struct, frozen=True, kw_only=True):
    max_spend: str
    duration: str
    spent: str  # in the current window
    resets_at: str | None  # None: a total budget never resets


@add_rates(int | None, after="status")
class ScopeView(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that an org, a team, a person and a key have in common."""

    id: str
    name: str
    status: str
    budget: BudgetView | None
    spend: str
    allowed_models: list[str]
    created_at: str | None


class UserView(ScopeView, frozen=True, kw_only=True):
    email: str
    role: str
    signs_in: bool  # has a password


class KeyView(ScopeView, frozen=True, kw_only=True):
    alias: str
    team_id: str
    user_id: str | None
    allowed_endpoints: list[str]
    allowed_ips: list[str]
    created_by: str
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None


class Spend(msgspec.Struct, frozen=True):
    """Nano-USD of a scope: ever, and in the current window of each duration."""

    total: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0

    def within(self, duration: int) -> int:
        """Return what counts against a budget of this duration."""
        return (self.total, self.daily, self.weekly, self.monthly)[duration]


def alias(last4: str) -> str:
    """Return the alias by which a key is shown after its creation."""
    return f"sk-...{last4}"


async def spends(
    connection: AsyncConnection, kind: Kind, ids: list[int], now_ms: int
) -> dict[int, Spend]:
    """Return what each scope has spent, for the scopes that have spent.

    Months of keys come from their own sums, so that few days are read.
    """
    today = now_ms // DAY_MS
    daily, weekly, monthly = (
        window_days(one, today)[0] for one in (Duration.DAILY, Duration.WEEKLY, Duration.MONTHLY)
    )
    is_key = kind is Kind.KEY
    ever, days = (spend_month, spend_daily) if is_key else (spend_scope, spend_scope)
    owner, of_day = (ever.c.key_id, days.c.key_id) if is_key else (ever.c.scope_id, days.c.scope_id)
    of_kind: ColumnElement[bool] = true() if is_key else spend_scope.c.kind == int(kind)
    cost = days.c.cost_nano
    day = days.c.day
    month = ever.c.month if is_key else ever.c.day
    of_month = func.sum(case((month >= monthly, ever.c.cost_nano), else_=0))
    of_week = [func.sum(case((day >= first, cost), else_=0)) for first in (daily, weekly)]
    found: dict[int, Spend] = {}
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        total = (
            select(owner, func.sum(ever.c.cost_nano), of_month)
            .where(of_kind, owner.in_(some))
            .group_by(owner)
        )
        recent = (
            select(of_day, *of_week)
            .where(of_kind, of_day.in_(some), day >= weekly)
            .group_by(of_day)
        )
        latest = {row[0]: (int(row[1]), int(row[2])) for row in await connection.execute(recent)}
        for id, nano, in_month in await connection.execute(total):
            in_day, in_week = latest.get(id, (0, 0))
            found[id] = Spend(int(nano), in_day, in_week, int(in_month))
    return found


async def window_spends(
    connection: AsyncConnection, kind: Kind, rows: Sequence[Row[Any]], now_ms: int
) -> dict[int, Spend]:
    """Return what counts against each budget of ``rows``, and nothing else.

    For old scopes this is cheaper than ``spends``.
    """
    found: dict[int, Spend] = {}
    by_duration: dict[int, list[int]] = {}
    for row in rows:
        by_duration.setdefault(row.duration, []).append(row.scope_id)
    for duration, ids in by_duration.items():
        first = window_days(duration, now_ms // DAY_MS)[0]
        for start in range(0, len(ids), 500):
            query = _since(kind, duration, ids[start : start + 500], first)
            for id, nano in await connection.execute(query):
                found[id] = Spend(**{Duration(duration).name.lower(): int(nano)})
    return found


def _since(kind: Kind, duration: int, ids: list[int], first: int) -> Select[Any]:
    """Sum what scopes spent from a day on; keys and whole months come from the sums of months."""
    if kind is not Kind.KEY:
        table = spend_scope
        owner = spend_scope.c.scope_id
        at = spend_scope.c.day
    elif duration in (Duration.TOTAL, Duration.MONTHLY):
        table = spend_month
        owner = spend_month.c.key_id
        at = spend_month.c.month
    else:
        table = spend_daily
        owner = spend_daily.c.key_id
        at = spend_daily.c.day
    query = (
        select(owner, func.sum(table.c.cost_nano))
        .where(owner.in_(ids), at >= first)
        .group_by(owner)
    )
    return query if kind is Kind.KEY else query.where(spend_scope.c.kind == int(kind))


async def views(
    connection: AsyncConnection, kind: Kind, rows: list[Row[Any]], now_ms: int
) -> list[Any]:
    """Make the views of rows of one kind: KeyView, UserView, or ScopeView for teams and orgs."""
    ids = [row.id for row in rows]
    spent = await spends(connection, kind, ids, now_ms)
    limits: dict[int, BudgetView] = {}
    for start in range(0, len(ids), 500):
        query = select(budgets).where(
            budgets.c.kind == int(kind), budgets.c.scope_id.in_(ids[start : start + 500])
        )
        for row in await connection.execute(query):
            limits[row.scope_id] = budget_view(row, spent.get(row.scope_id, Spend()), now_ms)
    roles = await _roles(connection, ids) if kind is Kind.USER else {}
    return [
        _view(kind, row, spent.get(row.id, Spend()), limits.get(row.id), roles.get(row.id, ""))
        for row in rows
    ]


async def _roles(connection: AsyncConnection, ids: list[int]) -> dict[int, str]:
    found: dict[int, str] = {}
    for start in range(0, len(ids), 500):
        query = select(memberships.c.user_id, memberships.c.role)
        rows = await connection.execute(
            query.where(memberships.c.user_id.in_(ids[start : start + 500]))
        )
        found |= {user: Role(role).name.lower() for user, role in rows}
    return found


async def view(connection: AsyncConnection, kind: Kind, id: int, now_ms: int) -> Any:  # noqa: ANN401 - by kind
    """Make the view of one row that is there."""
    table = TABLES[kind]
    row = (await connection.execute(select(table).where(table.c.id == id))).one()
    return (await views(connection, kind, [row], now_ms))[0]


def budget_view(row: Row[Any], spend: Spend, now_ms: int) -> BudgetView:
    _, end = window_days(row.duration, now_ms // DAY_MS)
    return BudgetView(
        max_spend=usd_text(row.max_spend_nano),
        duration=Duration(row.duration).name.lower(),
        spent=usd_text(spend.within(row.duration)),
        resets_at=None if row.duration == Duration.TOTAL else iso(end * DAY_MS),
    )


def _view(
    kind: Kind, row: Row[Any], spend: Spend, budget: BudgetView | None, role: str
) -> ScopeView:
    common: dict[str, Any] = {
        "id": text_id(kind, row.id),
        "name": row.name,
        "status": Status(row.status).name.lower(),
        **rates_of(row),
        "budget": budget,
        "spend": usd_text(spend.total),
        "allowed_models": json.loads(row.allowed_models),
        "created_at": iso(row.created_ms),
    }
    if kind is Kind.USER:
        return UserView(
            **common, email=row.email, role=role, signs_in=row.password_hash is not None
        )
    if kind is not Kind.KEY:
        return ScopeView(**common)
    return KeyView(
        **common,
        alias=alias(row.last4),
        team_id=text_id(Kind.TEAM, row.team_id),
        user_id=text_id(Kind.USER, row.user_id) if row.user_id else None,
        allowed_endpoints=endpoint_names(row.allowed_endpoints),
        allowed_ips=json.loads(row.allowed_ips),
        created_by=row.created_by,
        expires_at=iso(row.expires_ms),
        last_used_at=iso(row.last_used_ms),
        revoked_at=iso(row.revoked_ms),
    )
