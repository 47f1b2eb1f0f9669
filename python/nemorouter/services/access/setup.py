"""Let the reader of the server's terminal become the owner, by a token that works once.

Set-up is open as long as no user has a password.
"""

import hmac
from typing import Final

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter.errors import NotFoundError
from nemorouter.roles import Actor, Role
from nemorouter.services.access import password as passwords
from nemorouter.services.access import sessions, tokens
from nemorouter.services.fields import values
from nemorouter.services.scopes.scope import taken
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.lookup import text_id
from nemorouter.services.transaction.unit import own_change
from nemorouter.store.schema import memberships, meta, orgs, users
from nemorouter.types import Kind

_KEY: Final = "setup_token"


async def issue(context: Context) -> str | None:
    """Make a new set-up token, in place of an earlier one.

    None: a user has a password already, or there is no user.
    """
    async with context.store.begin() as connection:
        await connection.execute(delete(meta).where(meta.c.key == _KEY))
        if await _owner(connection) is None:
            return None
        token = tokens.new_token()
        value = tokens.digest("setup", token, context.peppers[0]).hex()
        await connection.execute(insert(meta).values(key=_KEY, value=value))
    return token


async def is_open(context: Context) -> bool:
    """Is there somebody to set up?"""
    async with context.store.read() as connection:
        return await _owner(connection) is not None


async def check(context: Context, token: str) -> None:
    """NotFoundError unless the token is the one that was printed last, and setup is open."""
    async with context.store.read() as connection:
        await _check(connection, context, token)


async def complete(
    context: Context, token: str, *, org: str, email: str, name: str, password: str, source_ip: str
) -> str:
    """Give the owner name, e-mail and password, and sign them in.

    Of two calls at once, one succeeds and the other finds the token used.
    """
    await check(context, token)
    passwords.checked(password)
    row = {"email": values.email(email), "name": values.name(name or email.partition("@")[0])}
    title = values.name(org, "org")
    row["password_hash"] = await passwords.hash_password(password)
    async with context.store.read() as connection:
        owner = await _check(connection, context, token)
    actor = Actor(
        org=owner[1], role=Role.OWNER, name=row["email"], user=owner[0], source_ip=source_ip
    )
    async with own_change(context, actor) as unit:
        if await _check(unit.connection, context, token) != owner:
            raise NotFoundError(_CLOSED)
        await unit.connection.execute(delete(meta).where(meta.c.key == _KEY))
        with taken(Kind.USER):
            await unit.connection.execute(update(users).where(users.c.id == owner[0]).values(**row))
        with taken(Kind.ORG):
            await unit.connection.execute(
                update(orgs).where(orgs.c.id == owner[1]).values(name=title)
            )
        await unit.bump_version(Kind.USER, owner[0])
        await unit.bump_version(Kind.ORG, owner[1])
        after = {"org": title, "email": row["email"], "name": row["name"]}
        await unit.record("setup.completed", text_id(Kind.ORG, owner[1]), None, after)
        return await sessions.begin(unit.connection, context, owner[0], owner[1], source_ip)


_CLOSED: Final = (
    "This setup link is not valid any more. Start the server again to get a new one, or sign in."
)


async def _check(connection: AsyncConnection, context: Context, token: str) -> tuple[int, int]:
    stored = (
        await connection.execute(select(meta.c.value).where(meta.c.key == _KEY))
    ).scalar() or ""
    given = [digest.hex() for digest in tokens.digests("setup", token, context.peppers)]
    owner = await _owner(connection)
    if owner is None or not any(hmac.compare_digest(stored, one) for one in given):
        raise NotFoundError(_CLOSED)
    return owner


async def _owner(connection: AsyncConnection) -> tuple[int, int] | None:
    """User and org of the oldest owner, as long as nobody at all has a password."""
    if (
        await connection.execute(
            select(users.c.id).where(users.c.password_hash.is_not(None)).limit(1)
        )
    ).first():
        return None
    query = (
        select(memberships.c.user_id, memberships.c.org_id)
        .where(memberships.c.role == int(Role.OWNER))
        .order_by(memberships.c.org_id, memberships.c.user_id)
        .limit(1)
    )
    row = (await connection.execute(query)).first()
    return None if row is None else (row.user_id, row.org_id)
