"""The ledger: what was spent. Journal rows come in once; the sums of a day move in the same transaction as the log.

It must never let a row count twice, however often a journal hands it over, and never change a sum that the log's
retention touches.
"""

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter.store import ledger_sqlite
from nemorouter.store.engine import Store
from nemorouter.store.sums import DAY_MS, window_days
from nemorouter.types import Duration, Kind

if TYPE_CHECKING:
    import aiosqlite

    from nemorouter._core import Journal, Tally

_SCOPE_COLUMN: Final = {Kind.ORG: "org_id", Kind.TEAM: "team_id", Kind.USER: "user_id", Kind.KEY: "key_id"}


async def drain(store: Store, journals: Sequence["Journal"], tallies: Sequence["Tally"] = (), limit: int = 4096) -> int:
    """Move up to ``limit`` ended tickets of each journal into the store, in one transaction, then free their slots.

    Answers how many rows there were. A crash or an error between commit and free hands the same rows over again,
    which changes nothing. StoreError: nothing was written, nothing was freed.
    """
    batches = [(journal, rows) for journal in journals if (rows := journal.rows(limit))]
    if batches or tallies:
        await record(store, [(rows, journal.upstreams) for journal, rows in batches], tallies)
    for journal, rows in batches:
        journal.free([row[0] for row in rows])
    return sum(len(rows) for _, rows in batches)


async def record(store: Store, batches: Sequence[ledger_sqlite.Batch], tallies: Sequence["Tally"] = ()) -> int:
    """Write rows, each batch with its journal's upstream names, in one transaction; answer how many were not there
    before. StoreError: nothing was written.
    """
    return await store.in_thread(lambda connection: ledger_sqlite.write(connection, batches, tallies))


async def window_spend(connection: AsyncConnection, kind: int, id: int, first_day: int, end_day: int) -> int:
    """Nano-USD spent by a scope in the days ``first_day`` … ``end_day`` - 1 (days since 1970-01-01 UTC)."""
    query = f"SELECT coalesce(sum(cost_nano), 0) FROM spend_daily WHERE {_SCOPE_COLUMN[Kind(kind)]} = ? "  # noqa: S608
    row = await connection.exec_driver_sql(query + "AND day >= ? AND day < ?", (id, first_day, end_day))
    return int(row.scalar_one())


async def total_spend(connection: AsyncConnection, kind: int, ids: Sequence[int]) -> dict[int, int]:
    """Nano-USD ever spent by each scope of ``ids`` that has spent."""
    column = _SCOPE_COLUMN[Kind(kind)]
    totals: dict[int, int] = {}
    for start in range(0, len(ids), 500):
        some = tuple(ids[start : start + 500])
        rows = await connection.exec_driver_sql(
            f"SELECT {column} AS id, sum(cost_nano) AS spent FROM spend_daily "  # noqa: S608 - constants
            f"WHERE {column} IN ({', '.join('?' * len(some))}) GROUP BY {column}",
            some,
        )
        totals.update({row["id"]: row["spent"] for row in rows.mappings()})
    return totals


async def open_windows(connection: AsyncConnection, wall_ms: int) -> AsyncIterator[list[tuple[int, int, bytes, int]]]:
    """(kind, id, digest, nano-USD spent) of every scope that spent in its budget window of ``wall_ms``, in lots."""
    driver: aiosqlite.Connection | None = (await connection.get_raw_connection()).driver_connection
    assert driver is not None  # noqa: S101 - an open connection has its driver
    for kind, column in _SCOPE_COLUMN.items():
        digest = "k.digest" if kind is Kind.KEY else "x''"
        keys = "JOIN keys AS k ON k.id = d.key_id" if kind is Kind.KEY else ""
        for duration in Duration:
            query = (
                f"SELECT {kind}, d.{column}, {digest}, sum(d.cost_nano) FROM spend_daily AS d {keys} "  # noqa: S608
                f"LEFT JOIN budgets AS b ON b.kind = {kind} AND b.scope_id = d.{column} "
                f"WHERE d.day >= ? AND d.day < ? AND coalesce(b.duration, {Duration.MONTHLY}) = ? GROUP BY d.{column}"
            )
            async with driver.execute(query, (*window_days(duration, wall_ms // DAY_MS), duration)) as cursor:
                while rows := await cursor.fetchmany(20_000):
                    yield [(*row,) for row in rows]
