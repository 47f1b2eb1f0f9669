"""The ledger's writes on SQLite: one visit to one thread for a whole batch, for a visit costs more than a row.

It must never let a row count twice.
"""

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from nemorouter.store.backend import Batch
from nemorouter.store.sums import sums

if TYPE_CHECKING:
    from nemorouter._core import Row, Tally

_LOG: Final = (
    "INSERT INTO requests (boot, seq, at_ms, key_id, team_id, user_id, org_id, model, endpoint, status, outcome, "
    "stream, input_tokens, cached_tokens, output_tokens, cost_nano, reserved_nano, latency_us, ttft_us, upstream) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (boot, seq) DO NOTHING"
)
_DAY: Final = (
    "INSERT INTO spend_daily (day, org_id, team_id, user_id, key_id, model, requests, input_tokens, cached_tokens, "
    "output_tokens, cost_nano, unknown_cost) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (day, org_id, team_id, user_id, key_id, model) DO UPDATE SET requests = requests + excluded.requests, "
    "input_tokens = input_tokens + excluded.input_tokens, cached_tokens = cached_tokens + excluded.cached_tokens, "
    "output_tokens = output_tokens + excluded.output_tokens, cost_nano = cost_nano + excluded.cost_nano, "
    "unknown_cost = unknown_cost + excluded.unknown_cost"
)
_SCOPE: Final = (
    "INSERT INTO spend_scope (kind, scope_id, day, model, requests, input_tokens, cached_tokens, output_tokens, "
    "cost_nano, unknown_cost) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (kind, scope_id, day, model) DO UPDATE SET requests = requests + excluded.requests, "
    "input_tokens = input_tokens + excluded.input_tokens, cached_tokens = cached_tokens + excluded.cached_tokens, "
    "output_tokens = output_tokens + excluded.output_tokens, cost_nano = cost_nano + excluded.cost_nano, "
    "unknown_cost = unknown_cost + excluded.unknown_cost"
)
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


def write(connection: sqlite3.Connection, batches: Sequence[Batch], tallies: Sequence["Tally"]) -> int:
    """Within the caller's transaction; answer how many rows were not there before.

    Log, sums and ``last_used_ms`` move together or not at all.
    """
    fresh: list[Row] = []
    for rows, upstreams in batches:
        fresh += _log(connection, rows, upstreams)
    if fresh:
        gained = sums(fresh)
        connection.executemany(_DAY, gained.daily)
        connection.executemany(_SCOPE, gained.scopes)
        connection.executemany(_MONTH, gained.months)
        connection.executemany(_USED, gained.used)
    if tallies:
        connection.executemany(_REFUSED, tallies)
    return len(fresh)


def _log(connection: sqlite3.Connection, rows: Sequence["Row"], upstreams: Sequence[str]) -> Sequence["Row"]:
    """Add rows to the request log; answer those that were not there. Nearly always that is all of them."""
    connection.execute("SAVEPOINT log")
    if connection.executemany(_LOG, _entries(rows, upstreams)).rowcount < len(rows):
        connection.execute("ROLLBACK TO log")
        there = set()
        for row in {row[1:3] for row in rows}:
            if connection.execute("SELECT 1 FROM requests WHERE boot = ? AND seq = ?", row).fetchone() is not None:
                there.add(row)
        rows = list({row[1:3]: row for row in rows if row[1:3] not in there}.values())
        connection.executemany(_LOG, _entries(rows, upstreams))
    connection.execute("RELEASE log")
    return rows


def _entries(rows: Sequence["Row"], upstreams: Sequence[str]) -> list[tuple[Any, ...]]:
    """Rows as ``_LOG`` wants them: without the slot, and the upstream's name at the end in place of its number."""
    names = dict(enumerate(upstreams))
    return [(*row[1:9], *row[10:], names.get(row[9], "")) for row in rows]
