"""Drop old rows of the request log and old refusal counts. It must never touch a sum."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter.store.engine import Store
from nemorouter.store.sums import DAY_MS

_MINUTE_MS: Final = 60_000
_OLD_ROWS: Final = text(
    "DELETE FROM requests WHERE (org_id, at_ms, journal_id, seq) IN ("
    "SELECT r.org_id, r.at_ms, r.journal_id, r.seq "
    "FROM orgs AS o CROSS JOIN requests AS r WHERE r.org_id = o.id AND r.at_ms < :before "
    "LIMIT :batch)"
)
_OLD_REFUSALS: Final = text(
    "DELETE FROM refusals WHERE (minute, key_id, code) IN "
    "(SELECT minute, key_id, code FROM refusals WHERE minute < :before ORDER BY minute "
    "LIMIT :batch)"
)
_ANY_ROW: Final = text(
    "SELECT 1 FROM orgs AS o CROSS JOIN requests AS r WHERE r.org_id = o.id "
    "AND r.at_ms < :before LIMIT 1"
)
_ANY_REFUSAL: Final = text("SELECT 1 FROM refusals WHERE minute < :before LIMIT 1")


async def retain(store: Store, days: int, wall_ms: int, batch: int = 1000) -> bool:
    """Drop up to ``batch`` rows of each table that are older than ``days``.

    True: there may be more. PostgreSQL drops the log by whole weeks.
    """
    before_ms = wall_ms - days * DAY_MS
    minute = before_ms // _MINUTE_MS
    async with store.read() as connection:
        log = await connection.execute(_ANY_ROW, {"before": before_ms})
        counts = await connection.execute(_ANY_REFUSAL, {"before": minute})
        if log.first() is None and counts.first() is None:
            return False
    async with store.begin() as connection:
        more = await _drop_log(store, connection, before_ms, batch)
        refusals = await connection.execute(_OLD_REFUSALS, {"before": minute, "batch": batch})
        return more or refusals.rowcount >= batch


async def _drop_log(store: Store, connection: AsyncConnection, before_ms: int, batch: int) -> bool:
    if store.dialect == "postgresql":
        # It imports PostgreSQL's driver, which is an optional package.
        from nemorouter.store import weeks

        return await weeks.expire(connection, before_ms)
    rows = await connection.execute(_OLD_ROWS, {"before": before_ms, "batch": batch})
    return rows.rowcount >= batch
