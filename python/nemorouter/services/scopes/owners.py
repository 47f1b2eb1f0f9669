"""Manage what keys belong to: teams, users and the org.

Their limits and budgets bind every key below them.
"""

from functools import partial
from typing import Any, Final

from msgspec import UNSET
from sqlalchemy import Column, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from nemorouter import ids
from nemorouter.errors import ConflictError, NotFoundError, RefusedError
from nemorouter.roles import Actor, Role, require
from nemorouter.services.budgets import budgets
from nemorouter.services.fields import values
from nemorouter.services.fields.page import Page, checked, cursor_id, every, page
from nemorouter.services.fields.views import ScopeView, UserView, view, views
from nemorouter.services.scopes.limits import NewScope, ScopePatch, columns
from nemorouter.services.scopes.places import take_place
from nemorouter.services.transaction.clock import now_ms
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.lookup import DEFAULT_TEAM, TABLES, find, text_id
from nemorouter.services.transaction.unit import UnitOfWork, change
from nemorouter.store.schema import memberships, teams, users
from nemorouter.types import Kind, Status

_READS: Final = {Kind.ORG: "org.read", Kind.TEAM: "team.read", Kind.USER: "member.read"}
_UPDATES: Final = {Kind.ORG: "org.update", Kind.TEAM: "team.update", Kind.USER: "member.update"}
_UPDATED: Final = {Kind.ORG: "org.updated", Kind.TEAM: "team.updated", Kind.USER: "member.updated"}


class NewMember(NewScope, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person of the org; ``role`` owner, admin, member or viewer."""

    email: str
    role: str = "member"


async def create_team(context: Context, actor: Actor, new: NewScope) -> ScopeView:
    """Create a team; its name is unique within the org."""
    async with change(context, actor, "team.create") as unit:
        return await insert_team(unit, new)


async def insert_team(unit: UnitOfWork, new: NewScope) -> ScopeView:
    """Insert a team within an open transaction."""
    row = columns(new) | {"id": ids.new_id(), "org_id": unit.actor.org, "created_ms": unit.now_ms}
    found: ScopeView = await _insert(unit, Kind.TEAM, row, new.budget, "team.created")
    return found


async def add_member(context: Context, actor: Actor, new: NewMember) -> UserView:
    """Add a user without a password; keys can belong to the user at once."""
    async with change(context, actor, "member.add") as unit:
        found: UserView = await insert_member(unit, new)
        return found


async def insert_member(
    unit: UnitOfWork, new: NewMember, password_hash: str | None = None
) -> UserView:
    """Person and membership, within a transaction that is open."""
    role = parse_role(new.role)
    if role is Role.OWNER and unit.actor.role is not Role.OWNER:
        raise RefusedError("Only an owner makes owners.", field="role")
    row = columns(new) | {
        "id": ids.new_id(),
        "org_id": unit.actor.org,
        "email": values.email(new.email),
        "password_hash": password_hash,
        "created_ms": unit.now_ms,
    }
    found: UserView = await _insert(unit, Kind.USER, row, new.budget, "member.added", role)
    return found


async def page_teams(
    context: Context, actor: Actor, *, limit: int = 100, cursor: str | None = None
) -> Page[ScopeView]:
    """Teams of the org, by name."""
    require(actor, "team.read")
    found: Page[ScopeView] = await _page(context, Kind.TEAM, actor, teams.c.name, limit, cursor)
    return found


async def page_members(
    context: Context, actor: Actor, *, limit: int = 100, cursor: str | None = None
) -> Page[UserView]:
    """People of the org, by e-mail."""
    require(actor, "member.read")
    found: Page[UserView] = await _page(context, Kind.USER, actor, users.c.email, limit, cursor)
    return found


async def list_teams(context: Context, actor: Actor) -> list[ScopeView]:
    """All teams of the org, by name."""
    return await every(partial(page_teams, context, actor))


async def list_members(context: Context, actor: Actor) -> list[UserView]:
    """All people of the org, by e-mail."""
    return await every(partial(page_members, context, actor))


async def _page(
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


async def patch_owner(
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


async def show_owner(context: Context, actor: Actor, kind: Kind, reference: str) -> Any:  # noqa: ANN401 - by kind
    """One team, person, or the org."""
    require(actor, _READS[kind])
    async with context.store.read() as connection:
        row = await find(connection, actor, kind, reference)
        return await view(connection, kind, row.id, now_ms())


def parse_role(text: str) -> Role:
    try:
        return Role[text.upper()]
    except KeyError:
        raise RefusedError("role must be owner, admin, member or viewer.", field="role") from None


class taken:  # noqa: N801 - reads as a phrase
    """A doubled name becomes a ConflictError that says so."""

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


async def _insert(
    unit: UnitOfWork,
    kind: Kind,
    row: dict[str, Any],
    budget: budgets.NewBudget | None,
    action: str,
    role: Role | None = None,
) -> Any:  # noqa: ANN401
    await take_place(unit)
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
