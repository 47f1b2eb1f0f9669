"""The store's rows as the arena wants them: policies, prices, and what changed since a sequence.

Every function takes a connection of ``Store.read()``, so that a caller sees all of it at one
instant.
"""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter.store.bulk import lots
from nemorouter.store.schema import changes, meta, prices
from nemorouter.types import Kind, ModelPrice, Policy

_BATCH: Final = 1000  # small enough to stay in the cache

_COMMON: Final = (
    "s.id, s.version, s.status, s.rpm, s.rpm_burst, s.tpm, s.tpm_burst, s.allowed_models, s.name, "
    "b.max_spend_nano, b.duration"
)
_QUERIES: Final = {
    kind: f"SELECT {_COMMON}, {own} FROM {table} AS s "  # noqa: S608 - constants
    f"LEFT JOIN budgets AS b ON b.kind = {int(kind)} AND b.scope_id = s.id"
    for kind, table, own in (
        (Kind.ORG, "orgs", "0"),
        (Kind.TEAM, "teams", "s.org_id"),
        (Kind.USER, "users", "s.org_id"),
        (
            Kind.KEY,
            "keys",
            "s.org_id, s.team_id, s.user_id, s.digest, s.last4, s.allowed_endpoints, s.allowed_ips, s.expires_ms",
        ),
    )
}


class Change(NamedTuple):
    """A row of ``changes``: a scope (types.Kind and id), or a price (schema.PRICE_CHANGE, 0 and the
    model).
    """

    seq: int
    kind: int
    id: int
    model: str | None


async def change_seq(connection: AsyncConnection) -> int:
    """The newest change sequence; 0 in a fresh store."""
    value = (
        await connection.execute(select(meta.c.value).where(meta.c.key == "change_seq"))
    ).scalar()
    return int(value or 0)


async def changes_since(connection: AsyncConnection, seq: int, limit: int = 10_000) -> list[Change]:
    """Up to ``limit`` changes after ``seq``, oldest first."""
    query = (
        select(changes.c.seq, changes.c.kind, changes.c.id, changes.c.model)
        .where(changes.c.seq > seq)
        .order_by(changes.c.seq)
        .limit(limit)
    )
    return [Change(*row) for row in await connection.execute(query)]


async def policy(connection: AsyncConnection, kind: int, id: int) -> Policy | None:
    """The policy of one scope as of now; None if there is none."""
    row = (
        await connection.execute(text(_QUERIES[Kind(kind)] + " WHERE s.id = :id"), {"id": id})
    ).first()
    return None if row is None else _MAKERS[Kind(kind)](tuple(row))


async def all_policies(connection: AsyncConnection) -> AsyncIterator[list[Policy]]:
    """Every policy in batches: orgs, teams, users, keys."""
    for kind, query in _QUERIES.items():
        make = _MAKERS[kind]
        async for rows in lots(connection, query, size=_BATCH):
            yield [make(row) for row in rows]


async def all_prices(connection: AsyncConnection) -> list[ModelPrice]:
    return [_price(row) for row in await connection.execute(select(*_PRICE))]


async def price(connection: AsyncConnection, model: str) -> ModelPrice | None:
    row = (await connection.execute(select(*_PRICE).where(prices.c.model == model))).first()
    return None if row is None else _price(row)


_PRICE: Final = (
    prices.c.model,
    prices.c.version,
    prices.c.input,
    prices.c.cached,
    prices.c.output,
    prices.c.request,
    prices.c.max_output,
)


def _price(row: Sequence[Any]) -> ModelPrice:
    model, version, input, cached, output, request, max_output = row
    return ModelPrice(
        model=model,
        version=version,
        input=input,
        cached=cached,
        output=output,
        request=request,
        max_output=max_output,
    )


def _key(row: tuple[Any, ...]) -> Policy:
    (id, version, status, rpm, rpm_burst, tpm, tpm_burst, models, name, cap, duration) = row[:11]
    (org, team, user, digest, last4, endpoints, ips, expires_ms) = row[11:]
    # By position, in the order of the fields, since a million of these are made at a start.
    return Policy(
        4,
        id,
        version,
        status,
        org,
        team,
        user or 0,
        digest,
        (rpm, tpm),
        (rpm_burst, tpm_burst),
        cap,
        3 if duration is None else duration,
        expires_ms,
        endpoints,
        () if models == "[]" else tuple(json.loads(models)),
        () if ips == "[]" else tuple(json.loads(ips)),
        name,
        last4,
    )


def _owner(kind: Kind, row: tuple[Any, ...]) -> Policy:
    (id, version, status, rpm, rpm_burst, tpm, tpm_burst, models, name, cap, duration, org) = row
    return Policy(
        kind=kind,
        id=id,
        version=version,
        status=status,
        org=org,
        limits=(rpm, tpm),
        bursts=(rpm_burst, tpm_burst),
        cap=cap,
        duration=3 if duration is None else duration,
        models=() if models == "[]" else tuple(json.loads(models)),
        name=name,
    )


_MAKERS: Final = {
    Kind.ORG: lambda row: _owner(Kind.ORG, row),
    Kind.TEAM: lambda row: _owner(Kind.TEAM, row),
    Kind.USER: lambda row: _owner(Kind.USER, row),
    Kind.KEY: _key,
}
