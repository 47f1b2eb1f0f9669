"""Invite people: a link lets one person join an org, once, within seven days.

The store keeps the keyed hash of the link.
"""

from typing import Any, Final

import msgspec
from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter import ids
from nemorouter.errors import ConflictError, ForbiddenError, NotFoundError, RefusedError
from nemorouter.roles import Actor, Role, require
from nemorouter.services.access import password as passwords
from nemorouter.services.access import sessions, tokens
from nemorouter.services.fields import values
from nemorouter.services.scopes.users import NewMember, insert_member, parse_role
from nemorouter.services.transaction.clock import iso, now_ms
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.lookup import is_operator, text_id
from nemorouter.services.transaction.unit import UnitOfWork, change, own_change
from nemorouter.store.schema import invitations, memberships, orgs, users
from nemorouter.types import Kind

LIFE_MS: Final = 7 * 24 * 3_600_000
_GONE: Final = "This invitation is not valid any more. Ask for a new one."


class NewInvitation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``role``: owner, admin, member or viewer."""

    email: str
    role: str = "member"


class InvitationView(msgspec.Struct, frozen=True, kw_only=True):
    """``status``: pending, accepted, revoked or expired."""

    id: str
    email: str
    role: str
    status: str
    org_name: str
    invited_by: str
    created_at: str | None
    expires_at: str | None


class IssuedInvitation(msgspec.Struct, frozen=True):
    """The one time that the link's token is told."""

    token: str
    view: InvitationView

    def __repr__(self) -> str:
        return f"CreatedInvitation({self.view.id})"


async def create(context: Context, actor: Actor, new: NewInvitation) -> IssuedInvitation:
    """Invite a person; an earlier invitation of the same address ends.

    A person who is there without a password may be invited with the role that they have: a link
    lets whoever holds it act as them, so it takes the same right as making them.
    """
    role = parse_role(new.role)
    email = values.email(new.email)
    async with change(context, actor, "invitation.create") as unit:
        if role is Role.OWNER and actor.role is not Role.OWNER:
            raise RefusedError("Only an owner invites owners.", field="role")
        await _require_same_role(unit, email, role)
        await _end_pending(unit, invitations.c.email == email)
        token = tokens.new_token()
        row: dict[str, Any] = {
            "id": ids.new_id(),
            "org_id": actor.org,
            "email": email,
            "role": int(role),
            "digest": tokens.digest("invitation", token, context.peppers[0]),
            "invited_by": actor.name,
            "inviter_id": actor.user,
            "created_ms": unit.now_ms,
            "expires_ms": unit.now_ms + LIFE_MS,
        }
        await unit.connection.execute(insert(invitations).values(**row))
        view = await _view_of(unit.connection, row["id"], unit.now_ms)
        await unit.record("member.invited", view.id, None, view)
    return IssuedInvitation(token, view)


async def _require_same_role(unit: UnitOfWork, email: str, role: Role) -> None:
    """Raise a RefusedError if the person is there and the invitation would change what they are."""
    query = (
        select(users.c.password_hash, memberships.c.role, is_operator().label("operator"))
        .join(memberships, memberships.c.user_id == users.c.id)
        .where(users.c.email == email, memberships.c.org_id == unit.actor.org)
    )
    row = (await unit.connection.execute(query)).first()
    if row is None:
        return
    if row.password_hash is not None:
        raise ConflictError("This person is a member already.", field="email")
    if row.role != role:
        there = Role(row.role).name.lower()
        raise ConflictError(
            f"This person is there as {there}: invite them as {there}, or change their role first.",
            field="role",
        )
    if row.operator and not unit.actor.operator:
        raise ForbiddenError("Only an operator invites a person who is one.", field="email")


async def list_invitations(context: Context, actor: Actor) -> list[InvitationView]:
    """List the org's invitations, newest first."""
    require(actor, "invitation.read")
    at = now_ms()
    query = (
        _select()
        .where(invitations.c.org_id == actor.org)
        .order_by(invitations.c.id.desc())
        .limit(1000)
    )
    async with context.store.read() as connection:
        return [_view(row, at) for row in await connection.execute(query)]


async def revoke(context: Context, actor: Actor, reference: str) -> None:
    """End an invitation that nobody accepted. NotFoundError: there is none."""
    async with change(context, actor, "invitation.revoke") as unit:
        try:
            id = ids.from_text("inv", reference)
        except ValueError:
            raise NotFoundError(f"There is no invitation {reference!r}.") from None
        if not await _end_pending(unit, invitations.c.id == id):
            raise NotFoundError(f"There is no open invitation {reference!r}.")
        await unit.record("invitation.revoked", reference)


async def peek(context: Context, token: str) -> InvitationView:
    """Return what a link invites to. NotFoundError: the link is unknown, used or over."""
    async with context.store.read() as connection:
        return _view(await _open(connection, context, token), now_ms())


async def accept(context: Context, token: str, name: str, password: str, source_ip: str) -> str:
    """Join by a link, with a new password; return the value of the session's cookie.

    A link works once.
    """
    await peek(context, token)
    passwords.checked(password)
    name = values.name(name)
    hashed = await passwords.hash_password(password)
    async with context.store.read() as connection:
        found = await _open(connection, context, token)
    actor = Actor(org=found.org_id, role=Role.OWNER, name=found.email, source_ip=source_ip)
    async with own_change(context, actor) as unit:
        row = await _open(unit.connection, context, token)
        done = {"accepted_ms": unit.now_ms}
        await unit.connection.execute(
            update(invitations).where(invitations.c.id == row.id).values(**done)
        )
        user = await _join(unit, row, name, hashed)
        await unit.record(
            "invitation.accepted",
            ids.to_text("inv", row.id),
            None,
            {"user": text_id(Kind.USER, user)},
        )
        return await sessions.begin(unit.connection, context, user, row.org_id, source_ip)


async def _join(unit: UnitOfWork, row: Row[Any], name: str, hashed: str) -> int:
    """Answer the person of the invitation: a new one, or one who was added without a password.

    The role of a person who is there stays. NotFoundError: it is another than the invitation's.
    """
    query = (
        select(users.c.id, memberships.c.role)
        .join(memberships, memberships.c.user_id == users.c.id)
        .where(
            users.c.email == row.email,
            memberships.c.org_id == row.org_id,
            users.c.password_hash.is_(None),
        )
    )
    found = (await unit.connection.execute(query)).first()
    role = Role(row.role)
    if found is None:
        new = NewMember(name=name, email=row.email, role=role.name.lower())
        return ids.from_text("user", (await insert_member(unit, new, hashed)).id)
    if found.role != role:
        raise NotFoundError(_GONE)
    given = {"name": name, "password_hash": hashed}
    await unit.connection.execute(update(users).where(users.c.id == found.id).values(**given))
    await unit.bump_version(Kind.USER, found.id)
    return int(found.id)


async def end_those_of(unit: UnitOfWork, user: int, email: str) -> None:
    """End the open invitations that a person made, and those that invite them."""
    await _end_pending(unit, (invitations.c.inviter_id == user) | (invitations.c.email == email))


async def _end_pending(unit: UnitOfWork, which: Any) -> int:  # noqa: ANN401 - a condition
    query = update(invitations).where(
        which,
        invitations.c.org_id == unit.actor.org,
        invitations.c.accepted_ms.is_(None),
        invitations.c.revoked_ms.is_(None),
    )
    return (await unit.connection.execute(query.values(revoked_ms=unit.now_ms))).rowcount


async def _open(connection: AsyncConnection, context: Context, token: str) -> Row[Any]:
    digests = tokens.digests("invitation", token, context.peppers)
    row = (await connection.execute(_select().where(invitations.c.digest.in_(digests)))).first()
    if row is None or _status(row, now_ms()) != "pending":
        raise NotFoundError(_GONE)
    return row


def _select() -> Any:  # noqa: ANN401 - a query
    return select(invitations, orgs.c.name.label("org_name")).join(
        orgs, orgs.c.id == invitations.c.org_id
    )


async def _view_of(connection: AsyncConnection, id: int, at: int) -> InvitationView:
    return _view((await connection.execute(_select().where(invitations.c.id == id))).one(), at)


def _status(row: Row[Any], at: int) -> str:
    if row.accepted_ms is not None:
        return "accepted"
    if row.revoked_ms is not None:
        return "revoked"
    return "pending" if row.expires_ms > at else "expired"


def _view(row: Row[Any], at: int) -> InvitationView:
    return InvitationView(
        id=ids.to_text("inv", row.id),
        email=row.email,
        role=Role(row.role).name.lower(),
        status=_status(row, at),
        org_name=row.org_name,
        invited_by=row.invited_by,
        created_at=iso(row.created_ms),
        expires_at=iso(row.expires_ms),
    )
