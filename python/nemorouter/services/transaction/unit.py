"""Make one change: role check, rows, audit event and change number in a single transaction.

The arena follows after the commit.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Text, case, cast, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter.roles import Actor, Visibility, require
from nemorouter.services.transaction import chain
from nemorouter.services.transaction.apply import apply
from nemorouter.services.transaction.clock import now_ms
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.lookup import TABLES
from nemorouter.services.transaction.places import take_places
from nemorouter.store.schema import PRICE_CHANGE, audit, changes, meta, prices
from nemorouter.types import Kind


class UnitOfWork:
    """Write in a transaction on behalf of ``actor``.

    Rows are there with their audit event, or not at all.
    """

    def __init__(
        self, context: Context, connection: AsyncConnection, actor: Actor, visibility: Visibility
    ) -> None:
        self.context = context
        self.connection = connection
        self.actor = actor
        self.visibility = visibility
        self.now_ms = now_ms()
        self.changed = False
        self.changes = range(0)
        """Numbers of this transaction's changes, which follow each other."""
        self.recorded: tuple[int, bytes] | None = None  # number and hash of the newest event

    async def bump_version(self, kind: Kind, id: int) -> None:
        """Draw the number of a change of this scope's policy, which becomes the row's version.

        The first one is kept for good. ConflictError: the arena has no room for the scope.
        """
        await take_places(self.connection, self.context.settings, kind, id)
        seq = await self._next_change()
        await self.connection.execute(insert(changes).values(seq=seq, kind=int(kind), id=id))
        table = TABLES[kind]
        first = case((table.c.first_version == 0, seq), else_=table.c.first_version)
        await self.connection.execute(
            update(table).where(table.c.id == id).values(version=seq, first_version=first)
        )

    async def bump_price_version(self, model: str) -> None:
        """Draw the number of a change of a price, which becomes the row's version."""
        seq = await self._next_change()
        await self.connection.execute(
            insert(changes).values(seq=seq, kind=PRICE_CHANGE, id=0, model=model)
        )
        await self.connection.execute(
            update(prices).where(prices.c.model == model).values(version=seq)
        )

    async def record(
        self,
        action: str,
        resource: str,
        before: Any = None,  # noqa: ANN401 - any JSON value
        after: Any = None,  # noqa: ANN401
        *,
        org: int | None = None,
    ) -> None:
        """Append an event to the audit chain; ``before`` and ``after`` are kept as JSON.

        ``org``: whose log shows it, if not the actor's; ``INSTALLATION``: that of every org.
        """
        newest = select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)
        last = (await self.connection.execute(newest)).first()
        event = chain.Event(
            seq=last.seq + 1 if last else 1,
            at_ms=self.now_ms,
            org_id=self.actor.org if org is None else org,
            actor=self.actor.name,
            source_ip=self.actor.source_ip,
            action=action,
            resource=resource,
            before=_json(before),
            after=_json(after),
        )
        digest = chain.link(self.context.audit_key, last.hash if last else b"", event)
        await self.connection.execute(
            insert(audit).values(**msgspec.structs.asdict(event), hash=digest)
        )
        await chain.set_head(self.connection, self.context.audit_key, event.seq, digest)
        self.recorded = event.seq, digest

    async def _next_change(self) -> int:
        self.changed = True
        bumped = cast(cast(meta.c.value, BigInteger) + 1, Text)
        query = (
            update(meta)
            .where(meta.c.key == "change_seq")
            .values(value=bumped)
            .returning(meta.c.value)
        )
        newest = int((await self.connection.execute(query)).scalar_one())
        self.changes = range(self.changes.start or newest, newest + 1)
        return newest


@asynccontextmanager
async def change(context: Context, actor: Actor, action: str) -> AsyncIterator[UnitOfWork]:
    """Open the transaction of ``action``.

    When the block ends without an error, the change is committed and applied on every host.
    """
    async with _unit(context, actor, require(actor, action)) as unit:
        yield unit


@asynccontextmanager
async def own_change(context: Context, actor: Actor) -> AsyncIterator[UnitOfWork]:
    """Open a transaction of what a user may do to themselves; the caller has checked who it is."""
    async with _unit(context, actor, Visibility.OWN) as unit:
        yield unit


@asynccontextmanager
async def _unit(
    context: Context, actor: Actor, visibility: Visibility
) -> AsyncIterator[UnitOfWork]:
    async with context.store.begin() as connection:
        unit = UnitOfWork(context, connection, actor, visibility)
        yield unit
    if unit.recorded is not None:
        chain.write_anchor(context.settings.data_dir, *unit.recorded)
    if unit.changed:
        await apply(context.settings, context.store, unit.changes)


def _json(value: Any) -> str | None:  # noqa: ANN401 - any view
    return None if value is None else msgspec.json.encode(value).decode()
