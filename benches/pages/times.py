"""Time every page of the dashboard on a store with many keys and a long request log.

python -m benches.pages.times [--keys 100000] [--rows 10000000] [--folder DIR]

The pages run in this process, without a server. A folder that an earlier run has filled is used
again.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from benches.pages.fill import fill
from nemorouter.control.app import create_control
from nemorouter.datadir.paths import DataDir
from nemorouter.ids import to_text
from nemorouter.services.access import sessions
from nemorouter.services.operations import bootstrap
from nemorouter.services.transaction.context import Context
from nemorouter.settings import Settings

REPEATS = 15
AIM_MS = 50.0
DEPTH = 100_000
DEEP = f"SELECT at_ms, journal_id, seq FROM requests ORDER BY org_id, at_ms LIMIT 1 OFFSET {DEPTH}"
"""A query for the cursor of the row that has ``DEPTH`` older rows: a page far down the log."""


class Page(NamedTuple):
    """A page to time: its name in the table, its path, and the session cookie of its reader."""

    name: str
    path: str
    cookie: str


class Places(NamedTuple):
    """The ids and the cursor that the paths of pages contain."""

    first: int
    """The id of the first key, which is also that of the first team and user."""
    keys: int
    budget: int
    deep: str


async def ask(app: Any, path: str, cookie: str) -> tuple[int, float, bytes]:
    """Send a GET to ``app``; return status, milliseconds and body."""
    where, _, query = path.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": where,
        "raw_path": where.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [
            (b"host", b"localhost"),
            (b"accept", b"text/html"),
            (b"cookie", f"nemo_session={cookie}".encode()),
        ],
        "client": ("127.0.0.1", 1),
        "server": None,
        "state": {},
        "extensions": {},
    }
    status = 0
    body = b""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, body
        status = message.get("status", status)
        body += message.get("body", b"")

    begun = time.perf_counter()
    await app(scope, receive, send)
    return status, (time.perf_counter() - begun) * 1000, body


async def _one(connection: AsyncConnection, query: str) -> Any:
    """Return the only value of the only row of ``query``."""
    return (await connection.exec_driver_sql(query)).scalar_one()


async def pages(context: Context) -> list[Page]:
    """List the pages to time: all of the owner's, and some as a member sees them."""
    actor = await bootstrap.local_actor(context)
    async with context.store.begin() as connection:
        owner = await _one(connection, "SELECT user_id FROM memberships WHERE role = 1")
        member = await _one(connection, "SELECT min(user_id) FROM memberships WHERE role = 3")
        ours = await sessions.begin(connection, context, owner, actor.org, "127.0.0.1")
        theirs = await sessions.begin(connection, context, member, actor.org, "127.0.0.1")
        deep = (await connection.exec_driver_sql(DEEP)).one()
        places = Places(
            first=await _one(connection, "SELECT min(id) FROM keys"),
            keys=await _one(connection, "SELECT count(*) FROM keys"),
            budget=await _one(connection, "SELECT scope_id FROM budgets WHERE kind = 4 LIMIT 1"),
            deep=".".join(map(str, deep)),
        )
    found = [Page(name, f"/acme{path}", ours) for name, path in _paths(places)]
    found += [Page(f"a member's {name}", f"/acme{path}", theirs) for name, path in _MEMBER_PATHS]
    return found


_MEMBER_PATHS = (
    ("home", ""),
    ("keys", "/keys"),
    ("keys, search without a hit", "/keys?q=nothing"),
    ("logs", "/logs"),
    ("logs, a model nobody used", "/logs?model=none"),
    ("budgets", "/budgets"),
)


def _paths(places: Places) -> Iterator[tuple[str, str]]:
    """Yield name and path, below the org, of each page that an owner sees."""
    key = to_text("key", places.first)
    team = to_text("team", places.first)
    yield "home", ""
    yield from _key_paths(places, key, team)
    yield "budgets", "/budgets"
    yield "budget, to be removed", f"/budgets/{to_text('key', places.budget)}/remove"
    yield "teams", "/teams"
    yield "team", f"/teams/{team}"
    yield "members", "/people/members"
    yield "member", f"/people/members/{to_text('user', places.first)}"
    yield from _log_paths(places, key, team)
    yield "audit", "/audit"
    yield "settings", "/settings"
    yield "prices", "/settings/prices"


def _key_paths(places: Places, key: str, team: str) -> Iterator[tuple[str, str]]:
    last = to_text("key", places.first + 20)
    middle = to_text("key", places.first + places.keys // 2)
    quiet = to_text("key", places.first + places.keys - 2)
    yield "keys", "/keys"
    yield "keys, page in the middle", f"/keys?cursor={middle}"
    yield "keys, search", "/keys?q=service+99"
    yield "keys, search without a hit", "/keys?q=nothing"
    yield "keys, search for four characters", "/keys?q=zzzz"
    yield "keys, the last page", f"/keys?cursor={last}"
    yield "keys, revoked", "/keys?status=revoked"
    yield "keys, a team", f"/keys?team={team}"
    yield "key, the busiest", f"/keys/{key}"
    yield "key, the quietest", f"/keys/{quiet}"
    yield "key, to be deleted", f"/keys/{key}/delete"


def _log_paths(places: Places, key: str, team: str) -> Iterator[tuple[str, str]]:
    until = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 45 * 86_400))
    yield "logs", "/logs"
    yield "logs, the oldest", f"/logs?cursor={places.deep}"
    yield "logs, the oldest of a busy key", f"/logs?key={key}&cursor={places.deep}"
    yield "logs, key and model", f"/logs?key={key}&model=echo"
    yield "logs, a team and an outcome", f"/logs?team={team}&outcome=client_gone"
    yield "logs, 45 days ago", f"/logs?until={until}"
    yield "logs, a busy key", f"/logs?key={key}"
    yield "logs, a team", f"/logs?team={team}"
    yield "logs, a model nobody used", "/logs?model=none"
    yield "logs, an outcome that never was", "/logs?outcome=timeout"


async def measure(context: Context, settings: Settings) -> int:
    """Time each page some times; print best, median and worst.

    Return the number of pages whose median is above the aim. AssertionError if a page has another
    status than 200.
    """
    app = create_control(context, settings)
    slow = 0
    print(f"\n{'page':34} {'best ms':>10} {'median ms':>10} {'worst ms':>10} {'kB':>7}")
    for page in await pages(context):
        times = []
        for _ in range(REPEATS):
            status, took, body = await ask(app, page.path, page.cookie)
            assert status == 200, (page.name, status, body[-600:])
            times.append(took)
        median = statistics.median(times)
        slow += median > AIM_MS
        figures = f"{min(times):10.1f} {median:10.1f} {max(times):10.1f} {len(body) / 1000:7.0f}"
        print(f"{page.name:34} {figures}{'  above' if median > AIM_MS else ''}")
    return slow


async def main() -> None:
    """Fill a store if there is none yet, measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=10_000_000, help=f"more than {DEPTH:,}")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.rows <= DEPTH:
        parser.error(f"--rows must be more than {DEPTH:,}")
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
    print(f"\n{slow} of the medians are above {AIM_MS:.0f} ms.")


if __name__ == "__main__":
    asyncio.run(main())
