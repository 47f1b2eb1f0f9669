"""Signing in with e-mail and password, and changing the password.

Known and unknown people are not told apart: the same words, the same work, in the same order.
"""

from typing import Final

from sqlalchemy import select, update

from nemorouter.errors import BusyError, RefusedError
from nemorouter.log import get_logger
from nemorouter.roles import Actor, Role
from nemorouter.services.access import password as passwords
from nemorouter.services.access import sessions, throttle
from nemorouter.services.access.sessions import Signed
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.lookup import text_id
from nemorouter.services.transaction.unit import own_change
from nemorouter.store.schema import memberships, orgs, users
from nemorouter.types import Kind, Status

_WRONG: Final = "The e-mail address or the password is wrong."

_log = get_logger(__name__)


async def sign_in(context: Context, email: str, password: str, source_ip: str) -> str:
    """Sign in; return the value of a new session's cookie.

    RefusedError: address or password is wrong. BusyError: too often, or too many at once.
    """
    subjects = [throttle.account(context, email), throttle.source(context, source_ip)]
    await throttle.charge(context, subjects)
    query = (
        select(users.c.id, users.c.email, users.c.password_hash, users.c.org_id, memberships.c.role)
        .join(
            memberships,
            (memberships.c.user_id == users.c.id) & (memberships.c.org_id == users.c.org_id),
        )
        .join(orgs, orgs.c.id == users.c.org_id)
        .where(users.c.email == email.strip().lower())
        .where(users.c.status == int(Status.ACTIVE), orgs.c.status != int(Status.REVOKED))
    )
    async with context.store.read() as connection:
        row = (await connection.execute(query)).first()
    try:
        right = await passwords.verify_password(password, row.password_hash if row else None)
    except BusyError:
        async with context.store.begin() as connection:
            await throttle.forgive(connection, subjects)  # the attempt was not judged
        raise
    if not right or row is None:
        _log.warning("sign_in_failed", source_ip=source_ip)
        raise RefusedError(_WRONG, field="password")
    actor = Actor(
        org=row.org_id, role=Role(row.role), name=row.email, user=row.id, source_ip=source_ip
    )
    async with own_change(context, actor) as unit:
        await throttle.forgive(unit.connection, subjects)
        token = await sessions.begin(unit.connection, context, row.id, row.org_id, source_ip)
        await unit.record("session.created", text_id(Kind.USER, row.id))
    return token


async def change_password(context: Context, signed: Signed, current: str, new: str) -> None:
    """Set a new password and end the user's other sessions.

    RefusedError: the current password is wrong.
    """
    passwords.checked(new, "new_password")
    user = signed.actor.user
    subjects = [throttle.account(context, signed.email)]
    await throttle.charge(context, subjects)
    async with context.store.read() as connection:
        stored = (
            await connection.execute(select(users.c.password_hash).where(users.c.id == user))
        ).scalar()
    if not await passwords.verify_password(current, stored):
        raise RefusedError("The current password is wrong.", field="current_password")
    hashed = await passwords.hash_password(new)
    async with own_change(context, signed.actor) as unit:
        await throttle.forgive(unit.connection, subjects)
        await unit.connection.execute(
            update(users).where(users.c.id == user).values(password_hash=hashed)
        )
        await sessions.end_all(unit.connection, user, but=signed.session)
        await unit.record("password.changed", text_id(Kind.USER, user))


async def sign_out(context: Context, signed: Signed) -> None:
    """End this session."""
    async with own_change(context, signed.actor) as unit:
        await sessions.end(unit.connection, signed.session)
        await unit.record("session.ended", text_id(Kind.USER, signed.actor.user))


async def end_other_sessions(context: Context, signed: Signed) -> None:
    """End all sessions of the person but this one."""
    async with own_change(context, signed.actor) as unit:
        await sessions.end_all(unit.connection, signed.actor.user, but=signed.session)
        await unit.record("session.others_ended", text_id(Kind.USER, signed.actor.user))
