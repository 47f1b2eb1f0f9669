"""Retention: drops old rows of the request log and old refusal counts. It must never touch a sum."""

from typing import Final

from nemorouter.store.engine import Store
from nemorouter.store.sums import DAY_MS

_MINUTE_MS: Final = 60_000
_OLD_ROWS: Final = (
    "DELETE FROM requests WHERE (boot, seq) IN (SELECT boot, seq FROM requests WHERE at_ms < ? ORDER BY at_ms LIMIT ?)"
)
_OLD_REFUSALS: Final = (
    "DELETE FROM refusals WHERE (minute, key_id, code) IN "
    "(SELECT minute, key_id, code FROM refusals WHERE minute < ? ORDER BY minute LIMIT ?)"
)


async def retain(store: Store, days: int, wall_ms: int, batch: int = 1000) -> bool:
    """Drop up to ``batch`` rows of each table that are older than ``days``; True if there may be more."""
    before_ms = wall_ms - days * DAY_MS
    async with store.read() as connection:
        log = await connection.exec_driver_sql("SELECT 1 FROM requests WHERE at_ms < ? LIMIT 1", (before_ms,))
        counts = await connection.exec_driver_sql(
            "SELECT 1 FROM refusals WHERE minute < ? LIMIT 1", (before_ms // _MINUTE_MS,)
        )
        if log.first() is None and counts.first() is None:
            return False
    async with store.begin() as connection:
        rows = await connection.exec_driver_sql(_OLD_ROWS, (before_ms, batch))
        refusals = await connection.exec_driver_sql(_OLD_REFUSALS, (before_ms // _MINUTE_MS, batch))
        return max(rows.rowcount, refusals.rowcount) >= batch
