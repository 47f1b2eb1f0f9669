"""Record what was spent: journal rows come in once, and the sums move with the log.

A row counts once however often a journal hands it over. Retention of the log changes no sum.
"""

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final

from sqlalchemy import cast, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter.store.bulk import batches
from nemorouter.store.engine import Store
from nemorouter.store.schema import spend_daily, spend_host, spend_scope
from nemorouter.store.schema.columns import BIG
from nemorouter.store.sums import DAY_MS, window_days
from nemorouter.types import Duration, Kind

if TYPE_CHECKING:
    from nemorouter._core import RefusalCount, Row

_SCOPE_COLUMN: Final = {
    Kind.ORG: "org_id",
    Kind.TEAM: "team_id",
    Kind.USER: "user_id",
    Kind.KEY: "key_id",
}


async def record(
    store: Store, rows: Sequence["Row"], refusal_counts: Sequence["RefusalCount"] = ()
) -> int:
    """Write rows in one transaction; return how many were new. StoreError: nothing was written."""
    return await store.record(rows, refusal_counts)


async def window_spend(
    connection: AsyncConnection,
    kind: int,
    id: int,
    first_day: int,
    end_day: int,
    host: int | None = None,
) -> int:
    """Return the nano-USD that a scope spent in the days ``first_day`` … ``end_day`` - 1.

    Days count from 1970-01-01 UTC. With ``host`` only what went through that host counts, which
    PostgreSQL knows.
    """
    if host is not None:
        table = spend_host.c
        which = [spend_host.c.host == host]
    elif kind == Kind.KEY:
        table = spend_daily.c
        which = [spend_daily.c.key_id == id]
    else:
        table = spend_scope.c
        which = []  # the same sums, without a row for each key below
    if table is not spend_daily.c:
        which += [table.kind == int(kind), table.scope_id == id]
    days = (table.day >= cast(first_day, BIG), table.day < cast(end_day, BIG))
    query = select(func.coalesce(func.sum(table.cost_nano), 0)).where(*which, *days)
    return int((await connection.execute(query)).scalar_one())


async def total_spend(connection: AsyncConnection, kind: int, ids: Sequence[int]) -> dict[int, int]:
    """Nano-USD ever spent by each scope of ``ids`` that has spent."""
    column = spend_daily.c[_SCOPE_COLUMN[Kind(kind)]]
    totals: dict[int, int] = {}
    for start in range(0, len(ids), 500):
        some = column.in_(ids[start : start + 500])
        rows = await connection.execute(
            select(column, func.sum(spend_daily.c.cost_nano)).where(some).group_by(column)
        )
        totals.update({id: spent for id, spent in rows})
    return totals


async def open_windows(
    connection: AsyncConnection, wall_ms: int, host: int | None = None
) -> AsyncIterator[list[tuple[int, int, bytes, int]]]:
    """List every scope that spent in its budget window of ``wall_ms``.

    An entry is (kind, id, digest, nano-USD spent).

    The list comes in batches. With ``host`` only what went through that host counts, which
    PostgreSQL knows.
    """
    for kind in _SCOPE_COLUMN:
        for duration in Duration:
            days = window_days(duration, wall_ms // DAY_MS)
            values = (*days, duration) if host is None else (*days, duration, host)
            async for rows in batches(
                connection, _windows(kind, one_host=host is not None), *values, size=20_000
            ):
                yield [
                    (int(kind), id, bytes(digest[0]) if digest else b"", spent)
                    for id, spent, *digest in rows
                ]


def _windows(kind: Kind, *, one_host: bool) -> str:
    table, id = ("spend_host", "scope_id") if one_host else ("spend_daily", _SCOPE_COLUMN[kind])
    digest, keys = (
        (", k.digest", f"JOIN keys AS k ON k.id = d.{id}") if kind is Kind.KEY else ("", "")
    )
    mine = f"AND d.host = ? AND d.kind = {int(kind)}" if one_host else ""
    return (
        f"SELECT d.{id}, sum(d.cost_nano){digest} FROM {table} AS d {keys} "  # noqa: S608 - constants
        f"LEFT JOIN budgets AS b ON b.kind = {int(kind)} AND b.scope_id = d.{id} "
        f"WHERE d.day >= ? AND d.day < ? AND coalesce(b.duration, {Duration.MONTHLY:d}) = ? {mine} "
        f"GROUP BY d.{id}{digest}"
    )
