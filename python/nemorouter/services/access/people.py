"""Change the people of an org: their roles, their removal, and what they change about themselves.

An org always has an owner.
"""

from typing import Any

from msgspec import UNSET, UnsetType
from sqlalchemy import Row, delete, func, select, update

from nemorouter import ids
from nemorouter.errors import ConflictError, RefusedError
from nemorouter.roles import Actor, Role, require
from nemorouter.services.access import invitations, reset, sessions
from nemorouter.services.access.sessions import Signed
from nemorouter.services.fields import values
from nemorouter.services.fields.views import KeyView, UserView, view, views
from nemorouter.services.scopes.limits import ScopePatch
from nemorouter.services.scopes.scope import write_patch
from nemorouter.services.scopes.users import parse_role
from nemorouter.services.transaction.clock import now_ms
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.lookup import find, text_id
from nemorouter.services.transaction.unit import UnitOfWork, change, own_change
from nemorouter.store.schema import keys, management_keys, memberships, users
from nemorouter.types import Kind, Status


class MemberPatch(ScopePatch, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes to a member; a field that is UNSET stays."""

    role: str | UnsetType = UNSET


async def patch_member(
    context: Context, actor: Actor, reference: str, given: MemberPatch
) -> UserView:
    """Change a person's role, state, limits or name.

    Another role, or none any more, ends their sessions and the links that they made.
    """
    async with change(context, actor, "member.update") as unit:
        old = await find(unit.connection, actor, Kind.USER, reference)
        role = None if given.role is UNSET else parse_role(given.role)
        was = await _role(unit, old.id)
        disabled = given.status not in (UNSET, "active")
        if (role is not None and role is not was) or disabled:
            await _may_lose(unit, was, wanted=role)
            await _end_what_they_issued(unit, old)
        found: UserView = await write_patch(unit, Kind.USER, old, given, role)
        await _require_owner(unit)
        return found


async def remove_member(context: Context, actor: Actor, reference: str) -> None:
    """Remove a person: their keys, sessions and links end; their spend and log rows stay.

    Keys of others that they made go on: ``keys_made_by`` lists them, for they know the secrets.
    """
    async with change(context, actor, "member.remove") as unit:
        old = await find(unit.connection, actor, Kind.USER, reference)
        await _may_lose(unit, await _role(unit, old.id))
        before = await view(unit.connection, Kind.USER, old.id, unit.now_ms)
        await _end_what_they_issued(unit, old)
        place = (memberships.c.user_id == old.id) & (memberships.c.org_id == actor.org)
        await unit.connection.execute(delete(memberships).where(place))
        await _require_owner(unit)
        gone = {"status": int(Status.REVOKED), "password_hash": None, "email": _gone(old)}
        await unit.connection.execute(update(users).where(users.c.id == old.id).values(**gone))
        await _revoke_keys(unit, old.id)
        await unit.bump_version(Kind.USER, old.id)
        await unit.record("member.removed", text_id(Kind.USER, old.id), before)


async def keys_made_by(context: Context, actor: Actor, reference: str) -> list[KeyView]:
    """List the live keys that a person made for others, the newest first, at most 1,000."""
    require(actor, "member.remove")
    at = now_ms()
    async with context.store.read() as connection:
        person = await find(connection, actor, Kind.USER, reference)
        mine = select(management_keys.c.id).where(management_keys.c.user_id == person.id)
        names = [ids.to_text("mk", id) for id in (await connection.execute(mine)).scalars()]
        query = (
            select(keys)
            .where(keys.c.org_id == actor.org, keys.c.status != int(Status.REVOKED))
            .where(keys.c.created_by.in_([person.email, *names]))
            .where(func.coalesce(keys.c.user_id, 0) != person.id)
            .order_by(keys.c.id.desc())
            .limit(1000)
        )
        rows = list((await connection.execute(query)).all())
        return await views(connection, Kind.KEY, rows, at)


async def rename_me(context: Context, signed: Signed, name: str) -> UserView:
    """Change how one is shown."""
    actor = signed.actor
    async with own_change(context, actor) as unit:
        before = await view(unit.connection, Kind.USER, actor.user, unit.now_ms)
        row = {"name": values.name(name)}
        await unit.connection.execute(update(users).where(users.c.id == actor.user).values(**row))
        await unit.bump_version(Kind.USER, actor.user)
        after: UserView = await view(unit.connection, Kind.USER, actor.user, unit.now_ms)
        await unit.record("member.updated", text_id(Kind.USER, actor.user), before, after)
        return after


async def _end_what_they_issued(unit: UnitOfWork, person: Row[Any]) -> None:
    """End a person's sessions, and all links that they made or that are for them."""
    await sessions.end_all(unit.connection, person.id)
    await invitations.end_those_of(unit, person.id, person.email)
    await reset.end_those_of(unit, person.id)


async def _role(unit: UnitOfWork, user: int) -> Role:
    place = (memberships.c.user_id == user) & (memberships.c.org_id == unit.actor.org)
    return Role(
        (await unit.connection.execute(select(memberships.c.role).where(place))).scalar_one()
    )


async def _may_lose(unit: UnitOfWork, was: Role, wanted: Role | None = None) -> None:
    """Owners are made and unmade by owners."""
    if Role.OWNER in (was, wanted) and unit.actor.role is not Role.OWNER:
        raise RefusedError("Only an owner makes, changes or removes owners.", field="role")


async def _require_owner(unit: UnitOfWork) -> None:
    """ConflictError if the change would leave the org without an active owner."""
    query = (
        select(func.count())
        .select_from(memberships.join(users, users.c.id == memberships.c.user_id))
        .where(memberships.c.org_id == unit.actor.org, memberships.c.role == int(Role.OWNER))
        .where(users.c.status == int(Status.ACTIVE))
    )
    if not (await unit.connection.execute(query)).scalar_one():
        raise ConflictError("The last owner stays: make another person owner first.", field="role")


async def _revoke_keys(unit: UnitOfWork, user: int) -> None:
    ended: dict[str, Any] = {"status": int(Status.REVOKED), "revoked_ms": unit.now_ms}
    live = (keys.c.user_id == user) & (keys.c.status != int(Status.REVOKED))
    found = (await unit.connection.execute(select(keys.c.id).where(live))).scalars().all()
    await unit.connection.execute(update(keys).where(live).values(**ended))
    for id in found:
        await unit.bump_version(Kind.KEY, id)
        await unit.record(
            "key.revoked", text_id(Kind.KEY, id), {"status": "active"}, {"status": "revoked"}
        )
    query = update(management_keys).where(
        management_keys.c.user_id == user, management_keys.c.status == 1
    )
    await unit.connection.execute(query.values(**ended))


def _gone(row: Row[Any]) -> str:
    """Return the address that a removed user's row keeps, so that the real one is free again."""
    return f"{row.email} (removed {ids.to_text('user', row.id)})"
