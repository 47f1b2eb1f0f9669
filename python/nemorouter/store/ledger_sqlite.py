"""The ledger's writes on SQLite: many rows to a statement, for a statement costs more than a row.

It must never let a row count twice.
"""

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final

from nemorouter.store.sums import LOG_COLUMNS, OTHER, Named, places, sums
from nemorouter.types import Kind

if TYPE_CHECKING:
    from nemorouter._core import RefusalCount, Row

_BATCH: Final = (
    64  # rows of one statement: what a statement costs by itself is half of a row's cost
)


def _log_of(rows: int) -> str:
    row = f"({', '.join('?' for _ in LOG_COLUMNS)})"
    return (
        f"INSERT INTO requests ({', '.join(LOG_COLUMNS)}) "  # noqa: S608 - constants
        f"VALUES {', '.join([row] * rows)} ON CONFLICT DO NOTHING"
    )


_LOG: Final = _log_of(1)
_LOG_BATCH: Final = _log_of(_BATCH)
_THERE: Final = (
    "SELECT 1 FROM requests WHERE journal_id = ? AND seq = ? AND at_ms = ? AND org_id = ?"
)
_DAY: Final = (
    "INSERT INTO spend_daily (day, org_id, team_id, user_id, key_id, model, requests, "
    "input_tokens, cached_tokens, "
    "output_tokens, cost_nano, unknown_cost) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (day, org_id, team_id, user_id, key_id, model) DO UPDATE "
    "SET requests = requests + excluded.requests, "
    "input_tokens = input_tokens + excluded.input_tokens, "
    "cached_tokens = cached_tokens + excluded.cached_tokens, "
    "output_tokens = output_tokens + excluded.output_tokens, "
    "cost_nano = cost_nano + excluded.cost_nano, "
    "unknown_cost = unknown_cost + excluded.unknown_cost"
)
_SCOPE: Final = (
    "INSERT INTO spend_scope (kind, scope_id, day, model, requests, input_tokens, cached_tokens, "
    "output_tokens, "
    "cost_nano, unknown_cost) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (kind, scope_id, day, model) DO UPDATE "
    "SET requests = requests + excluded.requests, "
    "input_tokens = input_tokens + excluded.input_tokens, "
    "cached_tokens = cached_tokens + excluded.cached_tokens, "
    "output_tokens = output_tokens + excluded.output_tokens, "
    "cost_nano = cost_nano + excluded.cost_nano, "
    "unknown_cost = unknown_cost + excluded.unknown_cost"
)
_NAMED: Final = "SELECT model FROM spend_scope WHERE kind = ? AND scope_id = ? AND day = ?"
_MONTH: Final = (
    "INSERT INTO spend_month (month, org_id, key_id, requests, cost_nano) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (month, org_id, key_id) DO UPDATE SET requests = requests + excluded.requests, "
    "cost_nano = cost_nano + excluded.cost_nano"
)
_USED: Final = "UPDATE keys SET last_used_ms = ?1 WHERE id = ?2 AND coalesce(last_used_ms, 0) < ?1"
_REFUSED: Final = (
    "INSERT INTO refusals (minute, key_id, code, count) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (minute, key_id, code) DO UPDATE SET count = count + excluded.count"
)


def _as_is(nothing: None) -> None:
    return nothing


# The driver looks for an adapter of each None, at ten times the price of binding it: give it one.
sqlite3.register_adapter(type(None), _as_is)


def write(
    connection: sqlite3.Connection, rows: Sequence["Row"], refusal_counts: Sequence["RefusalCount"]
) -> int:
    """Within the caller's transaction; answer how many rows were not there before.

    Log, sums and ``last_used_ms`` move together or not at all.
    """
    fresh = _log(connection, rows) if rows else rows
    if fresh:
        gained = sums(fresh, _named(connection, fresh))
        connection.executemany(_DAY, gained.daily)
        connection.executemany(_SCOPE, gained.scopes)
        connection.executemany(_MONTH, gained.months)
        connection.executemany(_USED, gained.used)
    if refusal_counts:
        connection.executemany(_REFUSED, refusal_counts)
    return len(fresh)


def _named(connection: sqlite3.Connection, rows: Sequence["Row"]) -> Named:
    """Read which models have a place in the sums that rows add to."""
    return {
        (org, day): {
            model
            for (model,) in connection.execute(_NAMED, (int(Kind.ORG), org, day))
            if model != OTHER
        }
        for org, day in places(rows)
    }


def _log(connection: sqlite3.Connection, rows: Sequence["Row"]) -> Sequence["Row"]:
    """Add rows to the request log; return those that were not there, nearly always all."""
    connection.execute("SAVEPOINT log")
    if _insert(connection, rows) < len(rows):
        connection.execute("ROLLBACK TO log")
        given = {_place(row): row for row in rows}
        there = {
            place for place in given if connection.execute(_THERE, place).fetchone() is not None
        }
        rows = [row for place, row in given.items() if place not in there]
        _insert(connection, rows)
    connection.execute("RELEASE log")
    return rows


def _place(row: "Row") -> tuple[int, int, int, int]:
    """Return where in the log a row lies: (journal_id, seq), its id, with its time and org.

    Time and org of a ticket never change.
    """
    return row.journal_id, row.seq, row.at_ms, row.org_id


def _insert(connection: sqlite3.Connection, rows: Sequence["Row"]) -> int:
    """Insert rows; return how many were not there."""
    entries = [row[1:] for row in rows]  # without the slot
    new = 0
    whole = len(entries) - len(entries) % _BATCH
    for start in range(0, whole, _BATCH):
        batch = entries[start : start + _BATCH]
        new += connection.execute(_LOG_BATCH, list(chain.from_iterable(batch))).rowcount
    return new + max(connection.executemany(_LOG, entries[whole:]).rowcount, 0)
