"""Reads from the store what the arena holds: policies, prices, and what changed since a sequence.

Every function takes a connection of ``Store.read()``, so that a caller sees all of it at one
instant.
"""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter.store.bulk import batches
from nemorouter.store.schema import changes, meta, prices
from nemorouter.types import RATES, Kind, ModelPrice, Policy

_BATCH: Final = 1000  # small enough to stay in the cache
_SOME: Final = 500  # parameters of one statement

_COMMON: Final = "s.id, s.version, s.status, s.allowed_models, s.name, b.max_spend_nano, b.duration"
_RATES: Final = ", ".join(
    f"s.{column}" for column in (*(rate.name for rate in RATES), *(rate.burst for rate in RATES))
)
"""Limits, then bursts, in the order of types.RATES: the last columns of each row."""

_LIMITS: Final = slice(-2 * len(RATES), -len(RATES))
_BURSTS: Final = slice(-len(RATES), None)

_TABLES: Final = {Kind.ORG: "orgs", Kind.TEAM: "teams", Kind.USER: "users", Kind.KEY: "keys"}

_QUERIES: Final = {
    kind: f"SELECT {_COMMON}, {own}, {_RATES} FROM {_TABLES[kind]} AS s "  # noqa: S608 - constants
    f"LEFT JOIN budgets AS b ON b.kind = {int(kind)} AND b.scope_id = s.id"
    for kind, own in (
        (Kind.ORG, "0"),
        (Kind.TEAM, "s.org_id"),
        (Kind.USER, "s.org_id"),
        (
            Kind.KEY,
            "s.org_id, s.team_id, s.user_id, s.digest, s.last4, s.allowed_endpoints, "
            "s.allowed_ips, s.expires_ms",
        ),
    )
}


_DIGEST_AT: Final = 10  # place of the digest in a key's row


class Unreadable(NamedTuple):
    """A scope whose row is no policy. ``digest`` is a key's, as far as it can be read."""

    kind: Kind
    id: int
    digest: bytes
    error: Exception


Skip = Callable[[Unreadable], None]


class Change(NamedTuple):
    """A row of ``changes``.

    It names a scope (types.Kind and id), or a price (schema.PRICE_CHANGE, 0 and the model).
    """

    seq: int
    kind: int
    id: int
    model: str | None


async def change_seq(connection: AsyncConnection) -> int:
    """Return the newest change number; 0 in a new store."""
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


async def first_versions(
    connection: AsyncConnection, scopes: Sequence[tuple[Kind, int]]
) -> dict[tuple[Kind, int], int]:
    """Return the number of the change that made each of ``scopes``; none for what is not there."""
    found: dict[tuple[Kind, int], int] = {}
    for kind, table in _TABLES.items():
        ids = [id for each, id in scopes if each is kind]
        query = text(
            f"SELECT id, first_version FROM {table} WHERE id IN :ids"  # noqa: S608 - constants
        ).bindparams(bindparam("ids", expanding=True))
        for start in range(0, len(ids), _SOME):
            rows = await connection.execute(query, {"ids": ids[start : start + _SOME]})
            found |= {(kind, id): version for id, version in rows}
    return found


async def policies_of(
    connection: AsyncConnection, kind: Kind, ids: Sequence[int], skip: Skip | None = None
) -> list[Policy]:
    """Read the policies of scopes of one kind as of now; of ids that do not exist there is none.

    ``skip``: see ``all_policies``.
    """
    query = text(f"{_QUERIES[kind]} WHERE s.id IN :ids").bindparams(
        bindparam("ids", expanding=True)
    )
    found: list[Policy] = []
    for start in range(0, len(ids), _SOME):
        rows = await connection.execute(query, {"ids": list(ids[start : start + _SOME])})
        found += _policies(kind, [tuple(row) for row in rows], skip)
    return found


async def all_policies(
    connection: AsyncConnection, skip: Skip | None = None
) -> AsyncIterator[list[Policy]]:
    """Read every policy in batches: orgs, teams, users, keys.

    ``skip`` is called for each row that is no policy, such as one with a list that is no JSON;
    without it such a row is an exception.
    """
    for kind, query in _QUERIES.items():
        async for rows in batches(connection, query, size=_BATCH):
            yield _policies(kind, rows, skip)


def _policies(kind: Kind, rows: Sequence[tuple[Any, ...]], skip: Skip | None) -> list[Policy]:
    make = _MAKERS[kind]
    if skip is None:
        return [make(row) for row in rows]
    try:
        return [make(row) for row in rows]
    except Exception:
        return [policy for row in rows if (policy := _policy(kind, row, skip)) is not None]


def _policy(kind: Kind, row: tuple[Any, ...], skip: Skip) -> Policy | None:
    try:
        return _MAKERS[kind](row)
    except Exception as error:  # whatever is wrong with it, it must not stop the rows behind it
        digest = row[_DIGEST_AT] if kind is Kind.KEY else b""
        skip(Unreadable(kind, row[0], digest if isinstance(digest, bytes) else b"", error))
        return None


async def all_prices(connection: AsyncConnection) -> list[ModelPrice]:
    """Read all prices, in no order."""
    return [_price(row) for row in await connection.execute(select(*_PRICE))]


async def prices_of(connection: AsyncConnection, models: Sequence[str]) -> list[ModelPrice]:
    """Read the prices of models as of now; of a model without a price there is none."""
    found: list[ModelPrice] = []
    for start in range(0, len(models), _SOME):
        some = prices.c.model.in_(models[start : start + _SOME])
        found += [_price(row) for row in await connection.execute(select(*_PRICE).where(some))]
    return found


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
    (id, version, status, models, name, cap, duration) = row[:7]
    (org, team, user, digest, last4, endpoints, ips, expires_ms) = row[7:15]
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
        row[_LIMITS],
        row[_BURSTS],
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
    (id, version, status, models, name, cap, duration, org) = row[:8]
    return Policy(
        kind=kind,
        id=id,
        version=version,
        status=status,
        org=org,
        limits=row[_LIMITS],
        bursts=row[_BURSTS],
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
