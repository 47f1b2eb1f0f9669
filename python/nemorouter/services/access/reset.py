"""Replace a forgotten password: an admin, or an operator at the machine, makes a link.

The store keeps the keyed hash of one link a user. A link works once, for a day, and ends every
session of the user.
"""

import hmac
from typing import Final

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter import ids
from nemorouter.errors import ConflictError, NotFoundError, RefusedError
from nemorouter.roles import Actor, Role
from nemorouter.services.access import password as passwords
from nemorouter.services.access import sessions, throttle, tokens
from nemorouter.services.transaction.clock import iso, now_ms
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.lookup import find, is_operator, text_id
from nemorouter.services.transaction.unit import UnitOfWork, change, own_change
from nemorouter.store.schema import memberships, meta, orgs, users
from nemorouter.types import Kind, Status

LIFE_MS: Final = 24 * 3_600_000
_GONE: Final = "This link is not valid any more. Ask for a new one."


class Reset(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a link by which a user sets a password. ``token`` is returned once."""

    email: str
    expires_at: str | None
    token: str

    def __repr__(self) -> str:
        return f"Reset({self.email})"


class _Found(msgspec.Struct, frozen=True):
    user: int
    org: int
    email: str
    role: int


async def issue(context: Context, actor: Actor, reference: str) -> Reset:
    """Make a link for a user, in place of an earlier one.

    The present password works until the link is used.
    """
    async with change(context, actor, "member.update") as unit:
        row = await find(unit.connection, actor, Kind.USER, reference)
        place = (memberships.c.user_id == row.id) & (memberships.c.org_id == actor.org)
        role = (await unit.connection.execute(select(memberships.c.role).where(place))).scalar_one()
        if role == Role.OWNER and actor.role is not Role.OWNER:
            raise RefusedError("Only an owner lets an owner set a new password.", field="member")
        operator = select(is_operator()).where(users.c.id == row.id)
        if not actor.operator and (await unit.connection.execute(operator)).scalar_one():
            raise RefusedError("Only an operator lets one set a new password.", field="member")
        if row.status != Status.ACTIVE:
            raise ConflictError("The person is disabled; make them active first.", field="member")
        token = tokens.new_token()
        expires = unit.now_ms + LIFE_MS
        digest = tokens.digest("reset", token, context.peppers[0]).hex()
        await unit.connection.execute(delete(meta).where(meta.c.key == _name(row.id)))
        await unit.connection.execute(
            insert(meta).values(key=_name(row.id), value=f"{expires}.{digest}.{actor.user}")
        )
        await unit.record("password.reset_issued", text_id(Kind.USER, row.id))
    return Reset(
        email=row.email, expires_at=iso(expires), token=f"{text_id(Kind.USER, row.id)}.{token}"
    )


async def peek(context: Context, token: str) -> str:
    """Return the e-mail address of the user whose password the link sets.

    NotFoundError: the link is no one's, or no longer valid.
    """
    async with context.store.read() as connection:
        return (await _open(connection, context, token)).email


async def complete(context: Context, token: str, password: str, source_ip: str) -> str:
    """Set the password and end the person's sessions; return the cookie value of a new session."""
    await peek(context, token)
    passwords.checked(password)
    hashed = await passwords.hash_password(password)
    async with context.store.read() as connection:
        found = await _open(connection, context, token)
    actor = Actor(
        org=found.org, role=Role(found.role), name=found.email, user=found.user, source_ip=source_ip
    )
    async with own_change(context, actor) as unit:
        await _open(unit.connection, context, token)  # of two at once one wins
        await unit.connection.execute(delete(meta).where(meta.c.key == _name(found.user)))
        await unit.connection.execute(
            update(users).where(users.c.id == found.user).values(password_hash=hashed)
        )
        await sessions.end_all(unit.connection, found.user)
        await throttle.forgive(unit.connection, [throttle.account(context, found.email)])
        await unit.record("password.changed", text_id(Kind.USER, found.user))
        return await sessions.begin(unit.connection, context, found.user, found.org, source_ip)


async def end_those_of(unit: UnitOfWork, user: int) -> None:
    """End the links that a person made, and the one that is for them."""
    made = meta.c.key.startswith("reset.") & meta.c.value.endswith(f".{user}")
    await unit.connection.execute(delete(meta).where(made | (meta.c.key == _name(user))))


def _name(user: int) -> str:
    return f"reset.{user}"


async def _open(connection: AsyncConnection, context: Context, token: str) -> _Found:
    who, _, secret = token.partition(".")
    try:
        user = ids.from_text("user", who)
    except ValueError:
        raise NotFoundError(_GONE) from None
    stored = (
        await connection.execute(select(meta.c.value).where(meta.c.key == _name(user)))
    ).scalar() or ""
    expires, digest, _ = (*stored.split("."), "", "")[:3]
    given = [one.hex() for one in tokens.digests("reset", secret, context.peppers)]
    if not any(hmac.compare_digest(digest, one) for one in given) or int(expires) <= now_ms():
        raise NotFoundError(_GONE)
    query = (
        select(users.c.id, users.c.org_id, users.c.email, memberships.c.role)
        .join(
            memberships,
            (memberships.c.user_id == users.c.id) & (memberships.c.org_id == users.c.org_id),
        )
        .join(orgs, orgs.c.id == users.c.org_id)
        .where(
            users.c.id == user,
            users.c.status == int(Status.ACTIVE),
            orgs.c.status != int(Status.REVOKED),
        )
    )
    row = (await connection.execute(query)).first()
    if row is None:
        raise NotFoundError(_GONE)
    return _Found(row.id, row.org_id, row.email, row.role)
