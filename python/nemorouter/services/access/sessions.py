"""Find the caller: sessions of users, and management keys, by a keyed hash of what was sent.

Every call reads user, role and org anew, so that a removed user is refused at the next request.
"""

from typing import Any, Final

import msgspec
from blake3 import blake3
from sqlalchemy import ColumnElement, Row, Select, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter import ids
from nemorouter.datadir.secrets import hash_key
from nemorouter.roles import Actor, Role
from nemorouter.services.access import tokens
from nemorouter.services.transaction.clock import now_ms
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.lookup import is_operator, text_id
from nemorouter.store.schema import management_keys, memberships, orgs, sessions, users
from nemorouter.types import Kind, Status

IDLE_MS: Final = 12 * 3_600_000
LIFE_MS: Final = 7 * 24 * 3_600_000
_TOUCH_MS: Final = 60_000  # how often "last seen" is written


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody whose credential was right. ``session`` 0: a management key."""

    actor: Actor
    email: str
    name: str
    user_id: str
    org_id: str
    org_name: str
    session: int = 0
    csrf: str = ""

    def __repr__(self) -> str:
        return f"Signed({self.actor.name})"


async def begin(
    connection: AsyncConnection, context: Context, user: int, org: int, source_ip: str
) -> str:
    """Begin a session; return the cookie's value, which is not kept."""
    at = now_ms()
    token = tokens.new_token()
    row = {
        "id": ids.new_id(),
        "user_id": user,
        "org_id": org,
        "digest": tokens.digest("session", token, context.peppers[0]),
        "created_ms": at,
        "seen_ms": at,
        "expires_ms": at + LIFE_MS,
        "source_ip": source_ip,
    }
    await connection.execute(delete(sessions).where(sessions.c.expires_ms < at))
    await connection.execute(insert(sessions).values(**row))
    return token


async def find(context: Context, token: str, source_ip: str) -> Signed | None:
    """Return the user of a session.

    None: there is no such session, it is over, or its user may not enter any more.
    """
    digests = tokens.digests("session", token, context.peppers)
    at = now_ms()
    query = _people(
        sessions, is_operator(), sessions.c.id.label("session"), sessions.c.seen_ms
    ).where(
        sessions.c.digest.in_(digests),
        sessions.c.expires_ms > at,
        sessions.c.seen_ms > at - IDLE_MS,
    )
    async with context.store.read() as connection:
        row = (await connection.execute(query)).first()
    if row is None:
        return None
    if at - row.seen_ms > _TOUCH_MS:
        async with context.store.begin() as connection:
            await connection.execute(
                update(sessions).where(sessions.c.id == row.session).values(seen_ms=at)
            )
    return _signed(row, row.email, source_ip, row.session, csrf_token(context, token))


async def find_management_key(context: Context, secret: str, source_ip: str) -> Signed | None:
    """Return the user of a management key, with the role that the user has now."""
    if not secret.startswith("mk-nemo-") or len(secret) != 40 or not secret.isascii():
        return None
    digests = [hash_key(secret, pepper) for _, pepper in context.peppers]
    table = management_keys.c
    operator = is_operator() & (table.operator == 1)
    query = _people(management_keys, operator, table.id.label("key"), table.last_used_ms).where(
        table.digest.in_(digests), table.status == int(Status.ACTIVE)
    )
    at = now_ms()
    async with context.store.read() as connection:
        row = (await connection.execute(query)).first()
    if row is None:
        return None
    if at - (row.last_used_ms or 0) > _TOUCH_MS:
        async with context.store.begin() as connection:
            await connection.execute(
                update(management_keys).where(table.id == row.key).values(last_used_ms=at)
            )
    return _signed(row, ids.to_text("mk", row.key), source_ip)


async def end(connection: AsyncConnection, session: int) -> None:
    """End one session."""
    await connection.execute(delete(sessions).where(sessions.c.id == session))


async def end_all(connection: AsyncConnection, user: int, *, but: int = 0) -> None:
    """End a person's sessions, but for one."""
    await connection.execute(
        delete(sessions).where(sessions.c.user_id == user, sessions.c.id != but)
    )


def csrf_token(context: Context, token: str) -> str:
    """Return the token that the forms of this session carry.

    It cannot be made without the server's secret.
    """
    return blake3(b"nemorouter csrf\0" + token.encode(), key=context.audit_key).hexdigest()[:40]


def _people(
    table: Any,  # noqa: ANN401 - a table with user_id
    operator: ColumnElement[bool],
    *own: Any,
) -> Select[Any]:
    """Select whose credential a row of ``table`` is, if they may enter; ``operator``: as such."""
    return (
        select(*own, users.c.id.label("user"), users.c.email, users.c.name, memberships.c.role)
        .add_columns(operator.label("operator"))
        .add_columns(orgs.c.id.label("org"), orgs.c.name.label("org_name"))
        .join(users, users.c.id == table.c.user_id)
        .join(
            memberships,
            (memberships.c.user_id == users.c.id) & (memberships.c.org_id == table.c.org_id),
        )
        .join(orgs, orgs.c.id == table.c.org_id)
        .where(users.c.status == int(Status.ACTIVE), orgs.c.status != int(Status.REVOKED))
    )


def _signed(row: Row[Any], name: str, source_ip: str, session: int = 0, csrf: str = "") -> Signed:
    return Signed(
        actor=Actor(
            org=row.org,
            role=Role(row.role),
            name=name,
            user=row.user,
            source_ip=source_ip,
            operator=bool(row.operator),
        ),
        email=row.email,
        name=row.name,
        user_id=text_id(Kind.USER, row.user),
        org_id=text_id(Kind.ORG, row.org),
        org_name=row.org_name,
        session=session,
        csrf=csrf,
    )
