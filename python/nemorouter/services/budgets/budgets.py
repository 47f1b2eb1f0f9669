"""Budgets: the most that a key, team, person or org may spend in a window. At most one a scope."""

from functools import partial
from typing import Any, Final

import msgspec
from msgspec import UnsetType
from sqlalchemy import ColumnElement, Row, delete, insert, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter import ids
from nemorouter.errors import NotFoundError, RefusedError
from nemorouter.roles import Actor, Visibility, require
from nemorouter.services.fields import values
from nemorouter.services.fields.page import Page, checked, cursor_numbers, every, page
from nemorouter.services.fields.views import BudgetView, Spend, budget_view, spends, window_spends
from nemorouter.services.transaction.clock import now_ms
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.lookup import TABLES, find, text_id
from nemorouter.services.transaction.unit import UnitOfWork, change
from nemorouter.store.schema import alerts, budgets
from nemorouter.types import Kind, Status

_KINDS: Final = (Kind.ORG, Kind.TEAM, Kind.USER, Kind.KEY)
_FEW: Final = 50
_MONTH_MS: Final = 31 * 86_400_000


class NewBudget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``max_spend`` in USD as a decimal string; ``duration`` daily, weekly, monthly or total."""

    max_spend: str
    duration: str = "monthly"


class ScopeBudget(msgspec.Struct, frozen=True, kw_only=True):
    """A budget with whose it is."""

    kind: str
    id: str
    name: str
    budget: BudgetView


async def set_budget(
    context: Context, actor: Actor, kind: Kind, reference: str, new: NewBudget
) -> ScopeBudget:
    """Give the scope this budget in place of the one it has. In force at the next request."""
    async with change(context, actor, "budget.set") as unit:
        row = await find(unit.connection, actor, kind, reference)
        before = await current_budget(unit, kind, row.id)
        await write_budget(unit, kind, row.id, new)
        await unit.bump_version(kind, row.id)
        await unit.record("budget.set", text_id(kind, row.id), before, new)
        spend = (await spends(unit.connection, kind, [row.id], unit.now_ms)).get(row.id, Spend())
        query = select(budgets).where(budgets.c.kind == int(kind), budgets.c.scope_id == row.id)
        view = budget_view((await unit.connection.execute(query)).one(), spend, unit.now_ms)
    return ScopeBudget(kind=kind.name.lower(), id=text_id(kind, row.id), name=row.name, budget=view)


async def clear_budget(context: Context, actor: Actor, kind: Kind, reference: str) -> None:
    """Take the scope's budget away. NotFoundError if it has none."""
    async with change(context, actor, "budget.set") as unit:
        row = await find(unit.connection, actor, kind, reference)
        before = await current_budget(unit, kind, row.id)
        if before is None:
            raise NotFoundError(f"{text_id(kind, row.id)} has no budget.", field="budget")
        await remove_budget(unit, kind, row.id)
        await unit.bump_version(kind, row.id)
        await unit.record("budget.cleared", text_id(kind, row.id), before)


async def page_all(
    context: Context, actor: Actor, *, limit: int = 100, cursor: str | None = None
) -> Page[ScopeBudget]:
    """List the budgets that the actor may see, with what is spent, down to the keys."""
    visibility = require(actor, "budget.read")
    first, since = cursor_numbers(cursor, 2) if cursor is not None else (0, 0)
    if cursor is not None and first not in tuple(Kind):
        raise RefusedError("cursor is not one that an answer gave as next_cursor.", field="cursor")
    found: list[tuple[Kind, Row[Any], Spend]] = []
    async with context.store.read() as connection:
        for kind in (Kind.KEY,) if visibility is Visibility.OWN else _KINDS:
            left = checked(limit) + 1 - len(found)
            if kind < first or not left:
                continue
            after = budgets.c.scope_id > (since if kind == first else 0)
            found += [
                (kind, *one)
                for one in await _some(connection, actor, visibility, kind, after, limit=left)
            ]
    found, last = page(found, limit)
    next_cursor = f"{int(last[0])}.{last[1].scope_id}" if last else None
    return Page(data=[_shown(*one) for one in found], next_cursor=next_cursor)


async def list_budgets(context: Context, actor: Actor) -> list[ScopeBudget]:
    """Every budget of the org that the actor may see."""
    return await every(partial(page_all, context, actor))


async def show_budget(context: Context, actor: Actor, kind: Kind, reference: str) -> ScopeBudget:
    """One budget. NotFoundError: the scope has none, or the actor may not see it."""
    visibility = require(actor, "budget.read")
    if visibility is Visibility.OWN and kind is not Kind.KEY:
        raise NotFoundError(f"There is no budget of {reference!r}.")
    async with context.store.read() as connection:
        row = await find(connection, actor, kind, reference, visibility)
        found = await _some(
            connection, actor, visibility, kind, budgets.c.scope_id == row.id, limit=1
        )
    if not found:
        raise NotFoundError(f"{text_id(kind, row.id)} has no budget.")
    return _shown(kind, *found[0])


async def near_cap(
    context: Context, actor: Actor, limit: int = 6, per_cent: int = 50
) -> list[ScopeBudget]:
    """Budgets of which at least ``per_cent`` is spent, the fullest first.

    Where there are many, only those are looked at that raised an alert in a window that may still
    be open.
    """
    visibility = require(actor, "budget.read")
    found: list[tuple[float, Kind, Row[Any], Spend]] = []
    async with context.store.read() as connection:
        for kind in (Kind.KEY,) if visibility is Visibility.OWN else _KINDS:
            some = await _some(connection, actor, visibility, kind, true(), limit=_FEW + 1)
            if len(some) > _FEW:
                told = select(alerts.c.scope_id).where(
                    alerts.c.org_id == actor.org,
                    alerts.c.kind == int(kind),
                    alerts.c.at_ms > now_ms() - _MONTH_MS,
                )
                newest = told.order_by(alerts.c.id.desc()).limit(_FEW)
                some = await _some(
                    connection, actor, visibility, kind, budgets.c.scope_id.in_(newest), limit=_FEW
                )
            for row, spend in some:
                spent = spend.within(row.duration)
                cap = row.max_spend_nano
                if spent * 100 >= cap * per_cent:
                    found.append((spent / cap if cap else 1, kind, row, spend))
    found.sort(key=lambda one: -one[0])
    return [_shown(kind, row, spend) for _, kind, row, spend in found[:limit]]


async def _some(
    connection: AsyncConnection,
    actor: Actor,
    visibility: Visibility,
    kind: Kind,
    where: ColumnElement[bool],
    *,
    limit: int,
) -> list[tuple[Row[Any], Spend]]:
    """Budgets of live scopes of one kind with their names, and what was spent."""
    table = TABLES[kind]
    query = (
        select(budgets, table.c.name)
        .join(table, table.c.id == budgets.c.scope_id)
        .where(budgets.c.kind == int(kind), table.c.status != int(Status.REVOKED), where)
        .where(
            (table.c.id if kind is Kind.ORG else table.c.org_id + 0) == actor.org
        )  # + 0: start at the budgets
        .order_by(budgets.c.scope_id)
        .limit(limit)
    )
    if visibility is Visibility.OWN:
        query = query.where(table.c.user_id == actor.user)
    rows = (await connection.execute(query)).all()
    spent = await window_spends(connection, kind, rows, now_ms())
    return [(row, spent.get(row.scope_id, Spend())) for row in rows]


def _shown(kind: Kind, row: Row[Any], spend: Spend) -> ScopeBudget:
    budget = budget_view(row, spend, now_ms())
    return ScopeBudget(
        kind=kind.name.lower(), id=text_id(kind, row.scope_id), name=row.name, budget=budget
    )


async def write_budget(unit: UnitOfWork, kind: Kind, id: int, new: NewBudget) -> None:
    """Write the row of a budget. The caller bumps the scope's version and records the event."""
    fields = {
        "max_spend_nano": values.max_spend(new.max_spend),
        "duration": int(values.duration(new.duration)),
    }
    same = (budgets.c.kind == int(kind)) & (budgets.c.scope_id == id)
    done = await unit.connection.execute(update(budgets).where(same).values(**fields))
    if not done.rowcount:
        fields |= {"id": ids.new_id(), "kind": int(kind), "scope_id": id, "created_ms": unit.now_ms}
        await unit.connection.execute(insert(budgets).values(**fields))


async def remove_budget(unit: UnitOfWork, kind: Kind, id: int) -> None:
    """Remove the row of a budget, if there is one."""
    await unit.connection.execute(
        delete(budgets).where(budgets.c.kind == int(kind), budgets.c.scope_id == id)
    )


async def patch_budget(
    unit: UnitOfWork, kind: Kind, id: int, given: NewBudget | UnsetType | None
) -> None:
    """UNSET leaves the budget, None takes it away."""
    if isinstance(given, NewBudget):
        await write_budget(unit, kind, id, given)
    elif given is None:
        await remove_budget(unit, kind, id)


async def current_budget(unit: UnitOfWork, kind: Kind, id: int) -> NewBudget | None:
    """Return the scope's budget in the form in which it is given."""
    query = select(budgets).where(budgets.c.kind == int(kind), budgets.c.scope_id == id)
    row = (await unit.connection.execute(query)).first()
    if row is None:
        return None
    view = budget_view(row, Spend(), unit.now_ms)
    return NewBudget(max_spend=view.max_spend, duration=view.duration)
