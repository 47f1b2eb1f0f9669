"""Run a POST that is sent twice with one ``Idempotency-Key`` once.

The answer is kept for a day, without any secret of it.
"""

from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from nemorouter.errors import ConflictError, RefusedError
from nemorouter.roles import Actor
from nemorouter.services.transaction.clock import now_ms
from nemorouter.services.transaction.context import Context
from nemorouter.store.schema import idempotency

LIFE_MS: Final = 24 * 3_600_000
MAX_LENGTH: Final = 255


class Replay(NamedTuple):
    """The answer that was given the first time; a secret that it held is ``null`` now."""

    status: int
    answer: bytes


async def begin(context: Context, actor: Actor, key: str, body_hash: bytes) -> Replay | None:
    """Begin the use of a key. None: go on, and call ``finish``.

    ConflictError: the key was used for another request, or its first use has not ended.
    """
    if not 1 <= len(key) <= MAX_LENGTH or not all("!" <= char <= "~" for char in key):
        raise RefusedError(f"Idempotency-Key must have 1 to {MAX_LENGTH} visible ASCII characters.")
    at = now_ms()
    async with context.store.begin() as connection:
        await connection.execute(delete(idempotency).where(idempotency.c.created_ms < at - LIFE_MS))
        row = (await connection.execute(select(idempotency).where(_is(actor, key)))).first()
        if row is None:
            fresh = {
                "org_id": actor.org,
                "actor": actor.name,
                "key": key,
                "body_hash": body_hash,
                "created_ms": at,
            }
            try:
                await connection.execute(insert(idempotency).values(**fresh))
            except IntegrityError:  # another process was faster
                raise ConflictError(_BUSY) from None
            return None
    if bytes(row.body_hash) != body_hash:
        raise ConflictError("This Idempotency-Key was used for another request. Take a new one.")
    if row.status is None:
        raise ConflictError(_BUSY)
    return Replay(row.status, row.answer.encode())


async def finish(context: Context, actor: Actor, key: str, status: int, answer: bytes) -> None:
    """Remember the answer. It must hold no secret."""
    async with context.store.begin() as connection:
        done = {"status": status, "answer": answer.decode()}
        await connection.execute(update(idempotency).where(_is(actor, key)).values(**done))


async def forget(context: Context, actor: Actor, key: str) -> None:
    """Forget a key whose request was refused, so that it may be tried again."""
    async with context.store.begin() as connection:
        await connection.execute(delete(idempotency).where(_is(actor, key)))


_BUSY: Final = (
    "The first request with this Idempotency-Key has not ended, or its end is not known. "
    "Look whether it took effect; "
    "then take a new key."
)


def _is(actor: Actor, key: str) -> ColumnElement[bool]:
    table = idempotency.c
    return (table.org_id == actor.org) & (table.actor == actor.name) & (table.key == key)
