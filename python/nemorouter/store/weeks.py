"""Keep PostgreSQL's request log in one table a week, so that old weeks are dropped whole.

It may grow to 10^9 rows. A week that holds a row younger than the retention is never dropped.
"""

from collections.abc import Iterable
from typing import Any, Final

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

WEEK_MS: Final = 7 * 86_400_000
_PREFIX: Final = "requests_week_"
_LOCK: Final = 0x4E45_4D4F_0003  # of processes that make or drop a week
_NAMES: Final = (
    "SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid "
    "WHERE i.inhparent = 'requests'::regclass"
)
# A drop waits for every reader, and all writers wait behind the drop.
_PATIENCE: Final = "SET LOCAL lock_timeout = '2s'"


class Weeks:
    """The weeks that are known to be there."""

    def __init__(self) -> None:
        self._there: set[int] = set()

    def forget(self) -> None:
        """Another host may have dropped one."""
        self._there.clear()

    async def ensure(self, connection: asyncpg.Connection, times_ms: Iterable[int]) -> None:
        """Make the weeks of these times, in a transaction of their own."""
        wanted = {at // WEEK_MS for at in times_ms} - self._there
        if not wanted:
            return
        async with connection.transaction():
            await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
            there = {row[0] for row in await connection.fetch(_NAMES)}
            for week in sorted(wanted):
                if _name(week) not in there:
                    await connection.execute(_make(week))
        self._there |= wanted


async def expire(connection: AsyncConnection, before_ms: int) -> bool:
    """Drop the oldest week whose rows are all from before ``before_ms``; True if there was one."""
    names: list[Any] = list((await connection.execute(text(_NAMES))).scalars())
    weeks = sorted(int(name.removeprefix(_PREFIX)) for name in names if name.startswith(_PREFIX))
    if not weeks or (weeks[0] + 1) * WEEK_MS > before_ms:
        return False
    await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    await connection.execute(text(_PATIENCE))
    await connection.execute(text(f"DROP TABLE IF EXISTS {_name(weeks[0])}"))
    return True


def _name(week: int) -> str:
    return f"{_PREFIX}{week}"


def _make(week: int) -> str:
    """Return the statements that make a week's table and attach it.

    A partition made in its place would wait for every reader and writer of the log.
    """
    name = _name(week)
    first = week * WEEK_MS
    end = (week + 1) * WEEK_MS
    return (
        f"CREATE TABLE {name} (LIKE requests INCLUDING DEFAULTS); "
        f"ALTER TABLE requests ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({end})"
    )
