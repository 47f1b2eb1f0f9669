"""The ledger: what was spent. Journal rows come in once; the sums of a day move in the same transaction as the log.

It must never let a row count twice, however often a journal hands it over, and never change a sum that the log's
retention touches.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from itertools import groupby
from operator import itemgetter
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
    "INSERT INTO requests (boot, seq, at_ms, key_id, team_id, user_id, org_id, model, endpoint, status, outcome, stream, "
    "input_tokens, cached_tokens, output_tokens, cost_nano, reserved_nano, latency_us, ttft_us, upstream) "
    f"VALUES ({', '.join('?' * 20)}) ON CONFLICT (boot, seq) DO NOTHING"
)
_SUM: Final = (
    "INSERT INTO spend_daily (day, org_id, team_id, user_id, key_id, model, requests, input_tokens, cached_tokens, "
    "output_tokens, cost_nano, unknown_cost) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (day, org_id, team_id, user_id, key_id, model) DO UPDATE SET requests = requests + excluded.requests, "
    "input_tokens = input_tokens + excluded.input_tokens, cached_tokens = cached_tokens + excluded.cached_tokens, "
    "output_tokens = output_tokens + excluded.output_tokens, cost_nano = cost_nano + excluded.cost_nano, "
    "unknown_cost = unknown_cost + excluded.unknown_cost"
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
        # boot, seq, ... model, then endpoint ... ttft; the upstream's name takes the place of its number.
        entries = [(*row[1:9], *row[10:], _name(upstreams, row[9])) for row in rows]
        seen = await _already_there(connection, rows) if await _many(connection, _LOG, entries) < len(rows) else set()
        fresh += [row for row in rows if row[1:3] not in seen]
    await _many(connection, _SUM, _daily_sums(fresh))
    last: dict[int, int] = {}
    for row in fresh:
        last[row[4]] = max(row[3], last.get(row[4], 0))
    await _many(connection, _USED, [(at, key) for key, at in last.items()])
    return len(fresh)
