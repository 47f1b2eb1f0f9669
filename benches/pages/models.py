"""Time every page, and revocations beside them, after many models were invented.

python -m benches.pages.models [--names 100000] [--days 1]

A key calls as many models as ``--names`` says on each of the last ``--days`` days; the rows go into
the ledger as the drainer writes them. Then a server gets requests for every page of the org, one
after the other, and last for the home page by eight callers at once while keys are revoked. The
aims are those of row P11 of the attacks: every page within 100 ms, a revocation within 1 s.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from nemorouter import ids
from nemorouter._core import Row
from nemorouter.roles import Actor
from nemorouter.services.access import sessions
from nemorouter.services.scopes import keys
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.lookup import find
from nemorouter.store.ledger import record
from nemorouter.store.sums import DAY_MS
from nemorouter.types import Kind
from tests.support.api import Api, get, management_key
from tests.support.rows import row
from tests.support.servers import Host, Server, until

PAGE_MS = 100.0
REVOCATION_MS = 1_000.0
REPEATS = 7
CALLERS = 8
REVOCATIONS = 20
_BATCH = 4_096


def _rows(key: Any, names: int, day: int) -> Iterator[Row]:
    """Yield the rows of a key that calls ``names`` models once each, a day."""
    at = time.time_ns() // 1_000_000 - day * DAY_MS
    for n in range(names):
        yield row(
            journal_id=1 + day,
            seq=n,
            at_ms=at,
            org_id=key.org_id,
            team_id=key.team_id,
            user_id=key.user_id or 0,
            key_id=key.id,
            model=f"invented-{day}-{n}",
            cost_nano=None if n % 2 else 1_000,
        )


async def _fill(context: Context, actor: Actor, names: int, days: int) -> tuple[str, str, str]:
    """Write the rows; return a session's cookie, and the ids of the key and its team."""
    made = (await keys.create(context, actor, keys.NewKey(name="inventor"))).view
    async with context.store.read() as connection:
        key = await find(connection, actor, Kind.KEY, made.id)
    for day in range(days):
        rows = list(_rows(key, names, day))
        for start in range(0, len(rows), _BATCH):
            await record(context.store, rows[start : start + _BATCH])
    async with context.store.begin() as connection:
        owner = (await find(connection, actor, Kind.USER, "owner@localhost")).id
        cookie = await sessions.begin(connection, context, owner, actor.org, "127.0.0.1")
    return f"nemo_session={cookie}", made.id, made.team_id


def _timed(work: Callable[[], Any]) -> float:
    """Return the milliseconds that ``work`` takes."""
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1_000


def _page(server: Server, path: str, cookie: str) -> None:
    answer = get(server, path, cookie)
    assert answer.status == 200, (path, answer.status)


@contextmanager
def _storm(server: Server, path: str, cookie: str) -> Iterator[list[float]]:
    """Let callers ask for a page without pause; yield the list that gets their times."""
    over = threading.Event()
    times: list[float] = []

    def ask() -> None:
        while not over.is_set():
            times.append(_timed(lambda: _page(server, path, cookie)))

    threads = [threading.Thread(target=ask) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    yield times
    over.set()
    for thread in threads:
        thread.join()


def _tell(what: str, times: list[float], aim: float) -> bool:
    """Print best, median and worst; return true if the median is within the aim."""
    median = statistics.median(times)
    good = median <= aim
    said = "" if good else "  above"
    print(f"{what:34} {min(times):9.1f} {median:9.1f} {max(times):9.1f}{said}", flush=True)
    return good


def measure(folder: Path, names: int, days: int) -> bool:
    """Fill, measure and print; return true if everything is within its aim."""
    host = Host(folder, {"capacity": 4_096})
    begun = time.monotonic()
    cookie, key, team = host.change(lambda c, a: _fill(c, a, names, days))
    print(f"{names:,} models a day on {days} days, written in {time.monotonic() - begun:.1f} s")
    org = ids.to_text("org", host.change(_org))
    manager = management_key(host)
    victims = [host.change(partial(_new_key, number=n)) for n in range(REVOCATIONS)]
    paths = ["", "/keys", f"/keys/{key}", "/teams", f"/teams/{team}", "/people/members"]
    paths += ["/budgets", "/logs", "/audit", "/settings", "/settings/prices"]
    print(f"{'':34} {'best ms':>9} {'median ms':>9} {'worst ms':>9}")
    with host.serve() as server:
        until(lambda: get(server, "/login").status == 200)
        good = [
            _tell(
                path or "home",
                [_timed(partial(_page, server, f"/{org}{path}", cookie)) for _ in range(REPEATS)],
                PAGE_MS,
            )
            for path in paths
        ]
        api = Api(server, manager)
        with _storm(server, f"/{org}", cookie) as pages:
            time.sleep(1)
            revoked = [_timed(partial(api.ok, "POST", f"/keys/{id}/revoke")) for id in victims]
        good.append(_tell("revocation beside eight homes", revoked, REVOCATION_MS))
        print(
            f"{'  those homes':34} {min(pages):9.1f} {statistics.median(pages):9.1f} "
            f"{max(pages):9.1f}"
        )
    return all(good) and max(revoked) <= REVOCATION_MS


async def _org(_: Context, actor: Actor) -> int:
    return actor.org


async def _new_key(context: Context, actor: Actor, number: int) -> str:
    new = keys.NewKey(name=f"victim {number}")
    return (await keys.create(context, actor, new)).view.id


def main() -> int:
    """Parse the options, and measure in a temporary folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--names", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return 0 if measure(Path(folder), given.names, given.days) else 1


if __name__ == "__main__":
    raise SystemExit(main())
