"""Read, insert and change what keys belong to: teams, users and the org.

Their limits and budgets bind every key below them.
"""

from typing import Any, Final

from msgspec import UNSET
from sqlalchemy import Column, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from nemorouter.errors import ConflictError, NotFoundError
from nemorouter.roles import Actor, Role, require
from nemorouter.services.budgets import budgets
from nemorouter.services.fields.page import Page, checked, cursor_id, page
from nemorouter.services.fields.views import ScopeView, view, views
from nemorouter.services.scopes.limits import ScopePatch, columns
from nemorouter.services.transaction.clock import now_ms
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.lookup import DEFAULT_TEAM, TABLES, find, text_id
from nemorouter.services.transaction.unit import UnitOfWork, change
from nemorouter.store.schema import memberships
from nemorouter.types import Kind, Status

_READS: Final = {Kind.ORG: "org.read", Kind.TEAM: "team.read", Kind.USER: "member.read"}
_UPDATES: Final = {Kind.ORG: "org.update", Kind.TEAM: "team.update", Kind.USER: "member.update"}
_UPDATED: Final = {Kind.ORG: "org.updated", Kind.TEAM: "team.updated", Kind.USER: "member.updated"}


async def patch_scope(
    context: Context, actor: Actor, kind: Kind, reference: str, given: ScopePatch
) -> ScopeView:
    """Change a team, a user or the org; the change takes effect at the next request.

    A disabled scope refuses all its keys at once.
    """
    async with change(context, actor, _UPDATES[kind]) as unit:
        old = await find(unit.connection, actor, kind, reference)
        found: ScopeView = await write_patch(unit, kind, old, given)
        return found


async def write_patch(
    unit: UnitOfWork, kind: Kind, old: Row[Any], given: ScopePatch, role: Role | None = None
) -> Any:  # noqa: ANN401 - by kind
    """Change a scope within an open transaction; a user may get another ``role`` with it."""
    if kind is Kind.TEAM and old.name == DEFAULT_TEAM and given.name not in (UNSET, DEFAULT_TEAM):
        raise ConflictError(
            f"The team {DEFAULT_TEAM} keeps its name: keys without a team go there.", field="name"
        )
    before = await view(unit.connection, kind, old.id, unit.now_ms)
    row = columns(given)
    if row:
        table = TABLES[kind]
        with taken(kind):
            await unit.connection.execute(update(table).where(table.c.id == old.id).values(**row))
    if role is not None:
        place = (memberships.c.user_id == old.id) & (memberships.c.org_id == unit.actor.org)
        await unit.connection.execute(update(memberships).where(place).values(role=int(role)))
    await budgets.patch_budget(unit, kind, old.id, given.budget)
    await unit.bump_version(kind, old.id)
    after: ScopeView = await view(unit.connection, kind, old.id, unit.now_ms)
    await unit.record(_UPDATED[kind], text_id(kind, old.id), before, after)
    return after


async def show_scope(context: Context, actor: Actor, kind: Kind, reference: str) -> Any:  # noqa: ANN401 - by kind
    """Return one team, user, or the org."""
    require(actor, _READS[kind])
    async with context.store.read() as connection:
        row = await find(connection, actor, kind, reference)
        return await view(connection, kind, row.id, now_ms())


async def page_scopes(
    context: Context, kind: Kind, actor: Actor, label: Column[str], limit: int, cursor: str | None
) -> Page[Any]:
    """List live scopes of the org by their label, which no two share.

    A cursor holds even if its row is gone meanwhile.
    """
    table = TABLES[kind]
    query = select(table).where(table.c.org_id == actor.org)
    if kind is Kind.USER:
        query = query.where(table.c.status != int(Status.REVOKED))
    async with context.store.read() as connection:
        if cursor is not None:
            mine = (table.c.id == cursor_id(kind.name.lower(), cursor)) & (
                table.c.org_id == actor.org
            )
            before = (await connection.execute(select(label).where(mine))).scalar()
            if before is None:
                raise NotFoundError(
                    "The row of this cursor is gone; begin with the first page.", field="cursor"
                )
            query = query.where(label > before)
        rows = list(
            (await connection.execute(query.order_by(label).limit(checked(limit) + 1))).all()
        )
        rows, after = page(rows, limit)
        found = await views(connection, kind, rows, now_ms())
    return Page(data=found, next_cursor=text_id(kind, after.id) if after else None)


async def insert_scope(
    unit: UnitOfWork,
    kind: Kind,
    row: dict[str, Any],
    budget: budgets.NewBudget | None,
    action: str,
    role: Role | None = None,
) -> Any:  # noqa: ANN401
    """Insert a team or user within an open transaction, with its budget and membership."""
    with taken(kind):
        await unit.connection.execute(insert(TABLES[kind]).values(**row))
    if role is not None:
        place = {"org_id": unit.actor.org, "user_id": row["id"], "role": int(role)}
        await unit.connection.execute(insert(memberships).values(**place))
    if budget is not None:
        await budgets.write_budget(unit, kind, row["id"], budget)
    await unit.bump_version(kind, row["id"])
    found = await view(unit.connection, kind, row["id"], unit.now_ms)
    await unit.record(action, text_id(kind, row["id"]), None, found)
    return found


class taken:  # noqa: N801 - reads as a phrase
    """Turn a doubled name within the context's body into a ConflictError that says so."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, IntegrityError):
            field = "email" if self._kind is Kind.USER else "name"
            raise ConflictError(
                f"Another {self._kind.name.lower()} has this {field}.", field=field
            ) from error
