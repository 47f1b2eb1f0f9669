"""The ledger's writes on PostgreSQL: rows by COPY, sums by the server, several hosts at once.

Every statement takes its rows in the order of their keys, and the order of the statements is the
same for all hosts, so that they wait for each other in one direction. It must never let a row count
twice.
"""

import secrets
import socket
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from nemorouter._core import Row
from nemorouter.store import weeks
from nemorouter.store.sums import DAY_MS, LOG_COLUMNS, OTHER, Named, has_room, places, served, sums
from nemorouter.types import Kind

if TYPE_CHECKING:
    from nemorouter._core import RefusalCount

_STAGE: Final = (
    "CREATE TEMP TABLE IF NOT EXISTS drained (LIKE requests INCLUDING DEFAULTS) "
    "ON COMMIT DELETE ROWS"
)
_LOG: Final = (
    f"INSERT INTO requests ({', '.join(LOG_COLUMNS)}) "  # noqa: S608 - constants
    f"SELECT {', '.join(LOG_COLUMNS)} FROM drained "
    "ON CONFLICT DO NOTHING RETURNING journal_id, seq"
)
_SUMS: Final = (
    "requests",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "cost_nano",
    "unknown_cost",
)
_USED: Final = (
    "UPDATE keys SET last_used_ms = u.at FROM (SELECT u.at, k.id "
    "FROM unnest($1::bigint[], $2::bigint[]) AS u (at, id) "
    "JOIN keys AS k ON k.id = u.id WHERE coalesce(k.last_used_ms, 0) < u.at ORDER BY k.id "
    "FOR NO KEY UPDATE OF k) AS u "
    "WHERE keys.id = u.id"
)
_SEEN: Final = (
    "INSERT INTO hosts (id, name, seen_ms) VALUES ($1, $2, $3) "
    "ON CONFLICT (id) DO UPDATE SET name = excluded.name, seen_ms = excluded.seen_ms"
)
_SEEN_EVERY_S: Final = 60.0
_COUNTED: Final = "UPDATE hosts SET refusal_count = $2 WHERE id = $1"


def _adding(table: str, keys: dict[str, str], sums: Sequence[str]) -> str:
    """Write a statement that adds lines, given as one array a column, to a table of sums."""
    columns = [*keys, *sums]
    types = [*keys.values(), *("bigint" for _ in sums)]
    arrays = ", ".join(f"${number}::{type}[]" for number, type in enumerate(types, 1))
    gains = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in sums)
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT * FROM unnest({arrays}) "  # noqa: S608 - constants
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {gains}"
    )


_MONTH: Final = _adding(
    "spend_month",
    {"month": "int", "org_id": "bigint", "key_id": "bigint"},
    ("requests", "cost_nano"),
)
_DAY: Final = _adding(
    "spend_daily",
    {
        "day": "int",
        **dict.fromkeys(("org_id", "team_id", "user_id", "key_id"), "bigint"),
        "model": "text",
    },
    _SUMS,
)
_HOST_DAY: Final = _adding(
    "spend_host",
    {"kind": "smallint", "scope_id": "bigint", "day": "int", "host": "bigint"},
    ("cost_nano",),
)
_SCOPE: Final = _adding(
    "spend_scope", {"kind": "smallint", "scope_id": "bigint", "day": "int", "model": "text"}, _SUMS
)
_REFUSED: Final = _adding(
    "refusals", {"minute": "bigint", "key_id": "bigint", "code": "smallint"}, ("count",)
)


_NAMED: Final = (
    "SELECT scope_id, day, model FROM spend_scope "  # noqa: S608 - constants
    "JOIN unnest($1::bigint[], $2::int[]) AS place (org, at) ON scope_id = org AND day = at "
    f"WHERE kind = {int(Kind.ORG)} AND model <> '{OTHER}'"
)
_NAMING: Final = "SELECT pg_advisory_xact_lock($1::int, $2::int)"
_NAMING_CLASS: Final = 0x6E656D6F
"""First number of the locks under which hosts give models a place; the second is the day's."""


class Ledger:
    """Write the ledger for one host.

    The object remembers what it may have written, and which weeks of the log are there.
    """

    def __init__(self, host: int) -> None:
        self._host = host
        self._weeks = weeks.Weeks()
        self._see = 0.0
        self._unsure: tuple[int, tuple[RefusalCount, ...]] | None = (
            None  # number and refusal counts of the last try
        )

    async def write(
        self,
        connection: asyncpg.Connection,
        rows: Sequence[Row],
        refusal_counts: Sequence["RefusalCount"],
    ) -> int:
        """One transaction; answer how many rows were not there before.

        Log, sums and ``last_used_ms`` move together or not at all.
        """
        entries = {(row.journal_id, row.seq): row for row in map(_fit, rows)}
        try:
            await self._weeks.ensure(connection, (row.at_ms for row in entries.values()))
            async with connection.transaction():
                await self._seen(connection, now=bool(refusal_counts))
                fresh = await _log(connection, entries) if entries else []
                if fresh:
                    await self._add(connection, fresh)
                if refusal_counts:
                    await self._count(connection, tuple(refusal_counts))
        except asyncpg.CheckViolationError:
            self._weeks.forget()  # a week was dropped; the next try makes it again
            raise
        if refusal_counts:
            self._unsure = None
        return len(fresh)

    async def _seen(self, connection: asyncpg.Connection, *, now: bool) -> None:
        """Tell of this host once a minute: its row also remembers which refusals were counted."""
        if now or time.monotonic() >= self._see:
            await connection.execute(
                _SEEN, self._host, socket.gethostname(), time.time_ns() // 1_000_000
            )
            self._see = time.monotonic() + _SEEN_EVERY_S

    async def _add(self, connection: asyncpg.Connection, fresh: Sequence[Row]) -> None:
        """Add to the sums.

        The rows that all hosts write come last, so that they are locked only for the time of the
        commit.
        """
        gained = sums(fresh, await _named(connection, fresh))
        await _lines(connection, _HOST_DAY, _of_host(gained.daily, self._host))
        await _lines(connection, _DAY, gained.daily)
        await _lines(connection, _MONTH, gained.months)
        await _lines(connection, _USED, gained.used)
        await _lines(connection, _SCOPE, gained.scopes)

    async def _count(
        self, connection: asyncpg.Connection, refusal_counts: tuple["RefusalCount", ...]
    ) -> None:
        """Write counts of refusals once: the number of the last batch is stored beside them."""
        done = await connection.fetchval(
            "SELECT refusal_count FROM hosts WHERE id = $1", self._host
        )
        if self._unsure is not None and self._unsure[0] == done:
            refusal_counts = refusal_counts[
                len(self._unsure[1]) :
            ]  # they were committed, and the answer was lost
        number = secrets.randbits(62)
        await connection.execute(_COUNTED, self._host, number)
        self._unsure = number, refusal_counts
        await _lines(connection, _REFUSED, _together(refusal_counts))


async def _log(connection: asyncpg.Connection, entries: dict[Any, Row]) -> list[Row]:
    """Add rows to the request log; answer those that were not there."""
    await connection.execute(_STAGE)
    lines = [row[1:] for row in entries.values()]  # without the slot
    await connection.copy_records_to_table("drained", records=lines, columns=LOG_COLUMNS)
    return [entries[record["journal_id"], record["seq"]] for record in await connection.fetch(_LOG)]


async def _named(connection: asyncpg.Connection, rows: Sequence[Row]) -> Named:
    """Read which models have a place in the sums that rows add to.

    Hosts that would give places to new models do so one after the other, until their commits.
    """
    named = await _read_named(connection, rows)
    new = {day for row in rows if _is_new(row, named[row.org_id, day := row.at_ms // DAY_MS])}
    if not new:
        return named
    for day in sorted(new):
        await connection.execute(_NAMING, _NAMING_CLASS, day)
    return await _read_named(connection, rows)


def _is_new(row: Row, there: set[str]) -> bool:
    """Return true if the row's model would get a place beside those that are there."""
    priced = row.cost_nano is not None
    return (
        served(row.status, row.cost_nano)
        and row.model not in there
        and has_room(there, priced=priced)
    )


async def _read_named(connection: asyncpg.Connection, rows: Sequence[Row]) -> Named:
    named: Named = {place: set() for place in places(rows)}
    for org, day, model in await connection.fetch(_NAMED, *zip(*sorted(named), strict=True)):
        named[org, day].add(model)
    return named


def _fit(row: Row) -> Row:
    """Replace the NULs of a model's name, which a text of PostgreSQL cannot hold."""
    if "\0" not in row.model:
        return row
    plain = row.model.replace("\0", "\ufffd")
    return Row(plain if value is row.model else value for value in row)


def _of_host(daily: Sequence[tuple[Any, ...]], host: int) -> list[tuple[Any, ...]]:
    """Sum what each scope spent on a day through this host."""
    found: dict[tuple[int, int, int, int], int] = {}
    for day, org, team, user, key, _, _, _, _, _, cost, _ in daily:
        for kind, id in ((Kind.ORG, org), (Kind.TEAM, team), (Kind.USER, user), (Kind.KEY, key)):
            if id:
                entry = int(kind), id, day, host
                found[entry] = found.get(entry, 0) + cost
    return [(*entry, cost) for entry, cost in found.items()]


def _together(refusal_counts: Sequence["RefusalCount"]) -> list[tuple[int, ...]]:
    """Of several journals: each key once, or one statement would meet its own row."""
    found: dict[tuple[int, ...], int] = {}
    for minute, key, code, count in refusal_counts:
        found[minute, key, code] = found.get((minute, key, code), 0) + count
    return [(*entry, count) for entry, count in found.items()]


async def _lines(
    connection: asyncpg.Connection, statement: str, lines: Sequence[tuple[Any, ...]]
) -> None:
    """Run a statement over lines, in the order of their keys."""
    if lines:
        await connection.execute(statement, *zip(*sorted(lines), strict=True))
