"""How long each page takes with many keys and a long log, in one process, on a store filled by SQL.

python -m benches.pages.times [--keys 100000] [--rows 10000000] [--folder DIR]   (a folder that is filled
already is reused)
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter.control.app import create_control
from nemorouter.datadir import DataDir
from nemorouter.ids import new_id, to_text
from nemorouter.services import bootstrap, sessions
from nemorouter.services.context import Context
from nemorouter.settings import Settings

DAYS = 90
TEAMS = 50
PEOPLE = 200
MODELS = ("gpt-4o", "gpt-4o-mini", "echo", "claude-sonnet-4")
REPEATS = 15
AIM_MS = 50.0
DEEP = "SELECT at_ms, boot, seq FROM requests ORDER BY org_id, at_ms LIMIT 1 OFFSET 100000"


async def _sql(connection: AsyncConnection, text: str, **values: Any) -> None:
    await connection.exec_driver_sql(text, values)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Says how long something took."""
    begun = time.monotonic()
    yield
    print(f"  {what}: {time.monotonic() - begun:.1f} s", flush=True)


async def fill(context: Context, keys: int, rows: int) -> None:
    """Keys with dense ids, a log with a few busy keys and many quiet ones, and the sums that belong
    to it.
    """
    first = await bootstrap.init(context, org="Acme", email="ada@example.com", password_hash="x")
    actor = await bootstrap.local_actor(context)
    base, now = new_id(), time.time_ns() // 1_000_000
    count = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :many)"
    given = {"org": actor.org, "now": now, "base": base}
    async with context.store.begin() as connection:
        await _sql(
            connection,
            f"{count} INSERT INTO teams (id, org_id, name) SELECT :base + i, :org, 'team ' || i FROM n",
            many=TEAMS,
            **given,
        )
        await _sql(
            connection,
            f"{count} INSERT INTO users (id, org_id, email, name) "
            "SELECT :base + i, :org, 'p' || i || '@example.com', 'person ' || i FROM n",
            many=PEOPLE,
            **given,
        )
        await _sql(
            connection,
            f"{count} INSERT INTO memberships SELECT :org, :base + i, 3 FROM n",
            many=PEOPLE,
            org=actor.org,
            base=base,
        )
        await _sql(
            connection,
            f"{count} INSERT INTO keys (id, org_id, team_id, user_id, name, digest, pepper_id, last4, status, "
            "created_ms)"
            " SELECT :base + i, :org, :base + i % 50, :base + i % 200, 'service ' || i, randomblob(32), 1, "
            "substr(hex(i), -4), 1 + 2 * (i % 1000 = 999), :now FROM n",
            many=keys,
            **given,
        )
        await _sql(
            connection,
            "INSERT INTO budgets SELECT id, 4, id, 50000000000, 3, 0 FROM keys WHERE id % 10 = 0 "
            "UNION ALL SELECT id + 1000000000, 2, id, 900000000000, 3, 0 FROM teams WHERE name <> 'Default'",
        )
        await _sql(
            connection,
            f"{count} INSERT OR IGNORE INTO refusals SELECT :now / 60000 - i % 40000, :base + abs(random()) % :keys, 11, 3 FROM n",
            many=200_000,
            keys=keys,
            now=now,
            base=base,
        )
    with told("the log"):
        async with without_indexes(context, "requests") as connection:
            await _log(connection, count, keys, rows, given)
    with told("the sums"):
        async with without_indexes(context, "spend_daily") as connection:
            await _sums(connection)
    async with context.store.begin() as connection:
        await _sql(connection, "ANALYZE")
    print(f"  org {first.org_id}")


@asynccontextmanager
async def without_indexes(context: Context, table: str) -> AsyncIterator[AsyncConnection]:
    """A transaction that fills a table, whose indexes are made again at its end."""
    query = f"SELECT name, sql FROM sqlite_master WHERE tbl_name = '{table}' AND type = 'index' AND sql IS NOT NULL"
    async with context.store.begin() as connection:
        await _sql(connection, "PRAGMA cache_size = -2000000")
        indexes: list[Any] = list((await connection.exec_driver_sql(query)).all())
        for name, _ in indexes:
            await _sql(connection, f"DROP INDEX {name}")
        yield connection
        for _, sql in indexes:
            await _sql(connection, sql)


async def _log(
    connection: AsyncConnection, count: str, keys: int, rows: int, given: dict[str, Any]
) -> None:
    models = " ".join(f"WHEN {i} THEN '{model}'" for i, model in enumerate(MODELS))
    await _sql(
        connection,
        f"{count}, k(i, key) AS (SELECT i, (abs(random()) % :keys) * (abs(random()) % :keys) / :keys FROM n) "
        "INSERT INTO requests SELECT 7, i, :start + i * :step / 1000, :base + key, :base + key % 50, "
        f":base + key % 200, :org, CASE abs(random()) % 4 {models} END, 'openai', 1, 200, 1, 0, 100, 0, 50, "
        "1000000, 1000000, 250000, NULL FROM k",
        many=rows,
        keys=keys,
        start=given["now"] - DAYS * 86_400_000,
        step=DAYS * 86_400_000 * 1000 // rows,
        org=given["org"],
        base=given["base"],
    )


async def _sums(connection: AsyncConnection) -> None:
    sums = "count(*), sum(input_tokens), sum(cached_tokens), sum(output_tokens), sum(cost_nano), 0"
    await _sql(
        connection,
        f"INSERT INTO spend_daily SELECT at_ms / 86400000, org_id, team_id, user_id, key_id, model, {sums} "
        "FROM requests GROUP BY 1, 2, 3, 4, 5, 6",
    )
    for kind, column in ((1, "org_id"), (2, "team_id"), (3, "user_id")):
        names = (
            "requests",
            "input_tokens",
            "cached_tokens",
            "output_tokens",
            "cost_nano",
            "unknown_cost",
        )
        added = ", ".join(f"sum({name})" for name in names)
        await _sql(
            connection,
            f"INSERT INTO spend_scope SELECT {kind}, {column}, day, model, {added} FROM spend_daily GROUP BY 2, 3, 4",
        )
    first = (
        "CAST(julianday(date(day * 86400, 'unixepoch', 'start of month')) - 2440587.5 AS INTEGER)"
    )
    await _sql(
        connection,
        f"INSERT INTO spend_month SELECT {first}, org_id, key_id, sum(requests), sum(cost_nano) "
        "FROM spend_daily GROUP BY 1, 2, 3",
    )


async def ask(app: Any, path: str, cookie: str) -> tuple[int, float, bytes]:
    """One GET: status, milliseconds, body."""
    where, _, query = path.partition("?")
    headers = [
        (b"host", b"localhost"),
        (b"accept", b"text/html"),
        (b"cookie", f"nemo_session={cookie}".encode()),
    ]
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
    }
    scope |= {
        "path": where,
        "raw_path": where.encode(),
        "query_string": query.encode(),
        "root_path": "",
    }
    scope |= {
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": None,
        "state": {},
        "extensions": {},
    }
    status, body = 0, b""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, body
        status = message.get("status", status)
        body += message.get("body", b"")

    begun = time.perf_counter()
    await app(scope, receive, send)
    return status, (time.perf_counter() - begun) * 1000, body


async def measure(context: Context, settings: Settings) -> int:
    """Every page: the best, the median and the worst of some repeats; answers how many medians are
    above the aim.
    """
    app = create_control(context, settings)
    actor = await bootstrap.local_actor(context)
    async with context.store.begin() as connection:
        user = (
            await connection.exec_driver_sql("SELECT user_id FROM memberships WHERE role = 1")
        ).scalar_one()
        cookie = await sessions.begin(connection, context, user, actor.org, "127.0.0.1")
        member = (
            await connection.exec_driver_sql("SELECT min(user_id) FROM memberships WHERE role = 3")
        ).scalar_one()
        theirs = await sessions.begin(connection, context, member, actor.org, "127.0.0.1")
        deep = (await connection.exec_driver_sql(DEEP)).one()
        budget = (
            await connection.exec_driver_sql("SELECT scope_id FROM budgets WHERE kind = 4 LIMIT 1")
        ).scalar_one()
        base = (await connection.exec_driver_sql("SELECT min(id) FROM keys")).scalar_one()
        keys = (await connection.exec_driver_sql("SELECT count(*) FROM keys")).scalar_one()
    key, team, person = to_text("key", base), to_text("team", base), to_text("user", base)
    since, middle = (
        time.strftime("%Y-%m-%d", time.gmtime(time.time() - 45 * 86_400)),
        to_text("key", base + keys // 2),
    )
    paths = {
        "home": "/acme",
        "keys": "/acme/keys",
        "keys, page in the middle": f"/acme/keys?cursor={middle}",
        "keys, search": "/acme/keys?q=service+99",
        "keys, search without a hit": "/acme/keys?q=nothing",
        "keys, search for four characters": "/acme/keys?q=zzzz",
        "keys, the last page": f"/acme/keys?cursor={to_text('key', base + 20)}",
        "keys, revoked": "/acme/keys?status=revoked",
        "keys, a team": f"/acme/keys?team={team}",
        "key, the busiest": f"/acme/keys/{key}",
        "key, the quietest": f"/acme/keys/{to_text('key', base + keys - 2)}",
        "key, to be deleted": f"/acme/keys/{key}/delete",
        "budgets": "/acme/budgets",
        "budget, to be removed": f"/acme/budgets/{to_text('key', budget)}/remove",
        "teams": "/acme/teams",
        "team": f"/acme/teams/{team}",
        "members": "/acme/people/members",
        "member": f"/acme/people/members/{person}",
        "logs": "/acme/logs",
        "logs, the oldest": f"/acme/logs?cursor={'.'.join(map(str, deep))}",
        "logs, the oldest of a busy key": f"/acme/logs?key={key}&cursor={'.'.join(map(str, deep))}",
        "logs, key and model": f"/acme/logs?key={key}&model=echo",
        "logs, a team and an outcome": f"/acme/logs?team={team}&outcome=client_gone",
        "logs, 45 days ago": f"/acme/logs?until={since}",
        "logs, a busy key": f"/acme/logs?key={key}",
        "logs, a team": f"/acme/logs?team={team}",
        "logs, a model nobody used": "/acme/logs?model=none",
        "logs, an outcome that never was": "/acme/logs?outcome=timeout",
        "audit": "/acme/audit",
        "settings": "/acme/settings",
        "prices": "/acme/settings/prices",
    }
    pages = [(name, path, cookie) for name, path in paths.items()]
    own = {
        "home": "/acme",
        "keys": "/acme/keys",
        "keys, search without a hit": "/acme/keys?q=nothing",
    }
    own |= {
        "logs": "/acme/logs",
        "logs, a model nobody used": "/acme/logs?model=none",
        "budgets": "/acme/budgets",
    }
    pages += [(f"a member's {name}", path, theirs) for name, path in own.items()]
    slow = 0
    print(f"\n{'page':34} {'best ms':>10} {'median ms':>10} {'worst ms':>10} {'kB':>7}")
    for name, path, who in pages:
        times = []
        for _ in range(REPEATS):
            status, took, body = await ask(app, path, who)
            assert status == 200, (name, status, body[-600:])
            times.append(took)
        median = statistics.median(times)
        slow += median > AIM_MS
        print(
            f"{name:34} {min(times):10.1f} {median:10.1f} {max(times):10.1f} {len(body) / 1000:7.0f}"
            f"{'  above' if median > AIM_MS else ''}"
        )
    return slow


async def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        settings = Settings(data_dir=given.folder or Path(temporary) / "data")
        fresh = not (settings.data_dir / "nemorouter.db").exists()
        DataDir(settings.data_dir).prepare()
        context = await Context.open(settings, create=True)
        try:
            if fresh:
                await fill(context, given.keys, given.rows)
            slow = await measure(context, settings)
        finally:
            await context.close()
    print(
        f"\n{slow} pages above {AIM_MS:.0f} ms."
        if slow
        else f"\nEvery page within {AIM_MS:.0f} ms."
    )


if __name__ == "__main__":
    asyncio.run(main())
