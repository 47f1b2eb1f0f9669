"""Fill a SQLite store with many keys and a long request log, by SQL, so that pages can be timed.

A few keys have most of the rows and most keys have few, as in an installation in use.
"""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter.ids import new_id
from nemorouter.services.operations import bootstrap
from nemorouter.services.transaction.context import Context

DAYS = 90
TEAMS = 50
PEOPLE = 200
REFUSALS = 200_000
MODELS = ("gpt-4o", "gpt-4o-mini", "echo", "claude-sonnet-4")
_DAY_MS = 86_400_000
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :many)"
"""A table ``n`` of the numbers from 0 up to ``many``; a statement that selects from it follows."""


class _World(NamedTuple):
    """The values that all rows share: the org, the first id of each kind, and the time in ms."""

    org: int
    base: int
    now: int


async def fill(context: Context, keys: int, rows: int) -> None:
    """Write an org with ``keys`` keys, ``rows`` rows of the log, and the sums of those rows.

    Ids are dense: team, user and key ``i`` have the same id, which is the first id plus ``i``.
    """
    first = await bootstrap.init(context, org="Acme", email="ada@example.com", password_hash="x")
    actor = await bootstrap.local_actor(context)
    world = _World(org=actor.org, base=new_id(), now=time.time_ns() // 1_000_000)
    async with context.store.begin() as connection:
        await _scopes(connection, world, keys)
        await _refusals(connection, world, keys)
    with _timed("the log"):
        async with _without_indexes(context, "requests") as connection:
            await _log(connection, world, keys, rows)
    with _timed("the sums"):
        async with _without_indexes(context, "spend_daily") as connection:
            await _sums(connection)
    async with context.store.begin() as connection:
        await _sql(connection, "ANALYZE")
    print(f"  org {first.org_id}")


@contextmanager
def _timed(what: str) -> Iterator[None]:
    """Print how many seconds the body of the context takes."""
    begun = time.monotonic()
    yield
    print(f"  {what}: {time.monotonic() - begun:.1f} s", flush=True)


async def _sql(connection: AsyncConnection, text: str, **values: Any) -> None:
    await connection.exec_driver_sql(text, values)


@asynccontextmanager
async def _without_indexes(context: Context, table: str) -> AsyncIterator[AsyncConnection]:
    """Open a transaction in which ``table`` has no indexes; its end builds them again.

    To build an index once is much faster than to keep it while millions of rows are inserted.
    """
    query = (
        "SELECT name, sql FROM sqlite_master "
        f"WHERE tbl_name = '{table}' AND type = 'index' AND sql IS NOT NULL"
    )
    async with context.store.begin() as connection:
        await _sql(connection, "PRAGMA cache_size = -2000000")
        indexes: list[Any] = list((await connection.exec_driver_sql(query)).all())
        for name, _ in indexes:
            await _sql(connection, f"DROP INDEX {name}")
        yield connection
        for _, sql in indexes:
            await _sql(connection, sql)


async def _scopes(connection: AsyncConnection, world: _World, keys: int) -> None:
    """Insert teams, users, keys, and a budget for each team and for each tenth key."""
    await _sql(
        connection,
        f"{_NUMBERS} INSERT INTO teams (id, org_id, name) "
        "SELECT :base + i, :org, 'team ' || i FROM n",
        many=TEAMS,
        base=world.base,
        org=world.org,
    )
    await _sql(
        connection,
        f"{_NUMBERS} INSERT INTO users (id, org_id, email, name) "
        "SELECT :base + i, :org, 'p' || i || '@example.com', 'person ' || i FROM n",
        many=PEOPLE,
        base=world.base,
        org=world.org,
    )
    await _sql(
        connection,
        f"{_NUMBERS} INSERT INTO memberships SELECT :org, :base + i, 3 FROM n",
        many=PEOPLE,
        base=world.base,
        org=world.org,
    )
    await _sql(
        connection,
        f"{_NUMBERS} INSERT INTO keys "
        "(id, org_id, team_id, user_id, name, digest, pepper_id, last4, status, created_ms) "
        "SELECT :base + i, :org, :base + i % 50, :base + i % 200, 'service ' || i, "
        "randomblob(32), 1, substr(hex(i), -4), 1 + 2 * (i % 1000 = 999), :now FROM n",
        many=keys,
        **world._asdict(),
    )
    await _sql(
        connection,
        "INSERT INTO budgets SELECT id, 4, id, 50000000000, 3, 0 FROM keys WHERE id % 10 = 0 "
        "UNION ALL SELECT id + 1000000000, 2, id, 900000000000, 3, 0 FROM teams "
        "WHERE name <> 'Default'",
    )


async def _refusals(connection: AsyncConnection, world: _World, keys: int) -> None:
    """Insert refusals of random keys in the minutes before now."""
    await _sql(
        connection,
        f"{_NUMBERS} INSERT OR IGNORE INTO refusals "
        "SELECT :now / 60000 - i % 40000, :base + abs(random()) % :keys, 11, 3 FROM n",
        many=REFUSALS,
        keys=keys,
        now=world.now,
        base=world.base,
    )


async def _log(connection: AsyncConnection, world: _World, keys: int, rows: int) -> None:
    """Insert ``rows`` rows of the request log, evenly over the last ``DAYS`` days.

    The number of a row's key is the product of two random fractions, so low numbers are frequent.
    """
    models = " ".join(f"WHEN {i} THEN '{model}'" for i, model in enumerate(MODELS))
    key = "(abs(random()) % :keys) * (abs(random()) % :keys) / :keys"
    await _sql(
        connection,
        f"{_NUMBERS}, k(i, key) AS (SELECT i, {key} FROM n) "
        "INSERT INTO requests SELECT 7, i, :start + i * :step / 1000, "
        ":base + key, :base + key % 50, :base + key % 200, :org, "
        f"CASE abs(random()) % 4 {models} END, 'openai', 1, 200, 1, 0, 100, 0, 50, "
        "1000000, 1000000, 250000, NULL FROM k",
        many=rows,
        keys=keys,
        start=world.now - DAYS * _DAY_MS,
        step=DAYS * _DAY_MS * 1000 // rows,
        org=world.org,
        base=world.base,
    )


async def _sums(connection: AsyncConnection) -> None:
    """Insert the sums of the log: by day and key, by day and scope, and by month and key."""
    sums = "count(*), sum(input_tokens), sum(cached_tokens), sum(output_tokens), sum(cost_nano), 0"
    await _sql(
        connection,
        "INSERT INTO spend_daily "
        f"SELECT at_ms / {_DAY_MS}, org_id, team_id, user_id, key_id, model, {sums} "
        "FROM requests GROUP BY 1, 2, 3, 4, 5, 6",
    )
    columns = "requests input_tokens cached_tokens output_tokens cost_nano unknown_cost"
    added = ", ".join(f"sum({name})" for name in columns.split())
    for kind, column in ((1, "org_id"), (2, "team_id"), (3, "user_id")):
        await _sql(
            connection,
            "INSERT INTO spend_scope "
            f"SELECT {kind}, {column}, day, model, {added} FROM spend_daily GROUP BY 2, 3, 4",
        )
    month = "julianday(date(day * 86400, 'unixepoch', 'start of month')) - 2440587.5"
    await _sql(
        connection,
        "INSERT INTO spend_month "
        f"SELECT CAST({month} AS INTEGER), org_id, key_id, sum(requests), sum(cost_nano) "
        "FROM spend_daily GROUP BY 1, 2, 3",
    )
