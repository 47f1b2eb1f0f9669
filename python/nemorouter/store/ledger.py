"""The ledger: what was spent. Journal rows come in once; the sums of a day move in the same transaction as the log.

It must never let a row count twice, however often a journal hands it over, and never change a sum that the log's
retention touches.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import date, timedelta
from operator import add
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter.store.engine import Store
from nemorouter.types import Duration, Kind

if TYPE_CHECKING:
    import aiosqlite

    from nemorouter._core import Journal, Row, Tally

DAY_MS: Final = 86_400_000
_EPOCH: Final = date(1970, 1, 1)
_FOR_EVER: Final = 1 << 31  # a day no clock reaches
_SCOPE_COLUMN: Final = {Kind.ORG: "org_id", Kind.TEAM: "team_id", Kind.USER: "user_id", Kind.KEY: "key_id"}

_LOG: Final = (
    "INSERT INTO requests (boot, seq, at_ms, key_id, team_id, user_id, org_id, model, endpoint, status, outcome, "
    "stream, input_tokens, cached_tokens, output_tokens, cost_nano, reserved_nano, latency_us, ttft_us, upstream) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (boot, seq) DO NOTHING"
)
_SUM: Final = (
    "INSERT INTO spend_daily (day, org_id, team_id, user_id, key_id, model, requests, input_tokens, cached_tokens, "
    "output_tokens, cost_nano, unknown_cost) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (day, org_id, team_id, user_id, key_id, model) DO UPDATE SET requests = requests + excluded.requests, "
    "input_tokens = input_tokens + excluded.input_tokens, cached_tokens = cached_tokens + excluded.cached_tokens, "
    "output_tokens = output_tokens + excluded.output_tokens, cost_nano = cost_nano + excluded.cost_nano, "
    "unknown_cost = unknown_cost + excluded.unknown_cost"
)
_SCOPE_SUM: Final = (
    "INSERT INTO spend_scope (kind, scope_id, day, model, requests, input_tokens, cached_tokens, output_tokens, "
    "cost_nano, unknown_cost) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (kind, scope_id, day, model) DO UPDATE SET requests = requests + excluded.requests, "
    "input_tokens = input_tokens + excluded.input_tokens, cached_tokens = cached_tokens + excluded.cached_tokens, "
    "output_tokens = output_tokens + excluded.output_tokens, cost_nano = cost_nano + excluded.cost_nano, "
    "unknown_cost = unknown_cost + excluded.unknown_cost"
)
_MONTH_SUM: Final = (
    "INSERT INTO spend_month (month, org_id, key_id, requests, cost_nano) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (month, org_id, key_id) DO UPDATE SET requests = requests + excluded.requests, "
    "cost_nano = cost_nano + excluded.cost_nano"
)
_USED: Final = "UPDATE keys SET last_used_ms = ?1 WHERE id = ?2 AND coalesce(last_used_ms, 0) < ?1"
_REFUSED: Final = (
    "INSERT INTO refusals (minute, key_id, code, count) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (minute, key_id, code) DO UPDATE SET count = count + excluded.count"
)


async def drain(store: Store, journals: Sequence["Journal"], tallies: Sequence["Tally"] = (), limit: int = 4096) -> int:
    """Move up to ``limit`` ended tickets of each journal into the store, in one transaction, then free their slots.

    Answers how many rows there were. A crash or an error between commit and free hands the same rows over again,
    which changes nothing. StoreError: nothing was written, nothing was freed.
    """
    batches = [(journal, rows) for journal in journals if (rows := journal.rows(limit))]
    if batches or tallies:
        async with store.begin() as connection:
            await record(connection, ((rows, journal.upstreams) for journal, rows in batches))
            await _many(connection, _REFUSED, tallies)
    for journal, rows in batches:
        journal.free([row[0] for row in rows])
    return sum(len(rows) for _, rows in batches)


async def record(connection: AsyncConnection, batches: Iterable[tuple[Sequence["Row"], Sequence[str]]]) -> int:
    """Write rows, each batch with its journal's upstream names; answer how many were not there before.

    Log, sums of the day and ``last_used_ms`` move together or not at all.
    """
    fresh: list[Row] = []
    for rows, upstreams in batches:
        fresh += await _log(connection, rows, upstreams)
    daily = _daily_sums(fresh)
    await _many(connection, _SUM, daily)
    await _many(connection, _SCOPE_SUM, _scope_sums(daily))
    await _many(connection, _MONTH_SUM, _month_sums(daily))
    last: dict[int, int] = {}
    for row in fresh:
        if row[3] > last.get(row[4], 0):
            last[row[4]] = row[3]
    await _many(connection, _USED, [(at, key) for key, at in last.items()])
    return len(fresh)


async def _log(connection: AsyncConnection, rows: Sequence["Row"], upstreams: Sequence[str]) -> Sequence["Row"]:
    """Add rows to the request log; answer those that were not there. Nearly always that is all of them."""
    await connection.exec_driver_sql("SAVEPOINT log")
    if await _many(connection, _LOG, _entries(rows, upstreams)) < len(rows):
        await connection.exec_driver_sql("ROLLBACK TO log")
        there = set()
        for boot, seq in {row[1:3] for row in rows}:
            found = await connection.exec_driver_sql("SELECT 1 FROM requests WHERE boot = ? AND seq = ?", (boot, seq))
            if found.first() is not None:
                there.add((boot, seq))
        rows = list({row[1:3]: row for row in rows if row[1:3] not in there}.values())
        await _many(connection, _LOG, _entries(rows, upstreams))
    await connection.exec_driver_sql("RELEASE log")
    return rows


def _entries(rows: Sequence["Row"], upstreams: Sequence[str]) -> list[tuple[Any, ...]]:
    """Rows as ``_LOG`` wants them: without the slot, and the upstream's name at the end in place of its number."""
    names = dict(enumerate(upstreams))
    return [(*row[1:9], *row[10:], names.get(row[9], "")) for row in rows]


def _daily_sums(rows: Sequence["Row"]) -> list[tuple[Any, ...]]:
    """What each day, scope and model gains."""
    sums: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        _, _, _, at, key, team, user, org, model, _, _, _, _, _, input, cached, output, cost, _, _, _ = row
        entry = (at // DAY_MS, org, team, user, key, model)
        total = sums.get(entry)
        if total is None:
            total = sums[entry] = [0, 0, 0, 0, 0, 0]
        total[0] += 1
        total[1] += input
        total[2] += cached
        total[3] += output
        if cost is None:
            total[5] += 1
        else:
            total[4] += cost
    return [(*entry, *total) for entry, total in sums.items()]


def _scope_sums(daily: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The same for org, team and person; a key without a person has none to add to."""
    sums: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for day, org, team, user, _, model, *gained in daily:
        for kind, id in ((Kind.ORG, org), (Kind.TEAM, team), (Kind.USER, user)):
            if id:
                _add(sums, (int(kind), id, day, model), gained)
    return [(*entry, *total) for entry, total in sums.items()]


def _month_sums(daily: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Requests and cost of each key and month."""
    sums: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for day, org, _, _, key, _, requests, _, _, _, cost, _ in daily:
        _add(sums, (month_of(day), org, key), (requests, cost))
    return [(*entry, *total) for entry, total in sums.items()]


def _add(sums: dict[tuple[Any, ...], tuple[Any, ...]], entry: tuple[Any, ...], gained: Sequence[int]) -> None:
    there = sums.get(entry)
    sums[entry] = tuple(gained) if there is None else tuple(map(add, there, gained))


async def _many(connection: AsyncConnection, statement: str, parameters: Sequence[Sequence[Any]]) -> int:
    """``executemany`` of the raw driver, several times faster than SQLAlchemy's; answers the number of rows changed."""
    if not parameters:
        return 0
    driver: aiosqlite.Connection | None = (await connection.get_raw_connection()).driver_connection
    assert driver is not None  # noqa: S101 - an open connection has its driver
    async with await driver.executemany(statement, parameters) as cursor:
        return int(cursor.rowcount)


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


def window_days(duration: int, day: int) -> tuple[int, int]:
    """First day, and day after the last, of the budget window in which ``day`` lies (days since 1970-01-01 UTC)."""
    if duration == Duration.TOTAL:
        return 0, _FOR_EVER
    if duration == Duration.DAILY:
        return day, day + 1
    if duration == Duration.WEEKLY:
        monday = day - (day + 3) % 7  # day 0 was a Thursday
        return monday, monday + 7
    first = (_EPOCH + timedelta(days=day)).replace(day=1)
    after = (first + timedelta(days=31)).replace(day=1)
    return (first - _EPOCH).days, (after - _EPOCH).days


def month_of(day: int) -> int:
    """First day of the month in which ``day`` lies."""
    return window_days(Duration.MONTHLY, day)[0]
