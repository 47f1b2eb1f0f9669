"""Measure how the cost of a request grows with keys, workers, body, stream and request log."""

import random
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from benches.load import floor
from benches.load.case import Case
from benches.load.fleet import Fleet, Say
from benches.load.measure import Bench
from benches.load.ours import Ours
from benches.load.scenarios import stream_body
from benches.report.pieces import Row
from nemorouter.bench.client import request
from nemorouter.bench.process import wait_until_quiet
from nemorouter.bench.servers import BODY, CHAT
from nemorouter.datadir.secrets import hash_key, load_peppers
from nemorouter.settings import Settings
from nemorouter.types import MAX_LIMIT

KEYS = (1_000, 100_000, 1_000_000)
WORKERS = (1, 2)
BODIES = (100, 1_000, 10_000, 100_000, 1_000_000)
CHUNKS = (10, 50, 200, 1_000)
LOG_ROWS = (0, 100_000, 1_000_000)
_FIRST_ID = 1 << 60
_SAMPLE = 997


class Growth(NamedTuple):
    """A piece of the report: its title, and the function that measures its rows.

    The function takes the number of rounds, the seconds of each, and a function for progress.
    """

    title: str
    measure: Callable[[int, float, Say], list[Row]]


def _each(
    sizes: Sequence[int], point: Callable[[Bench, int], Row]
) -> Callable[[int, float, Say], list[Row]]:
    """Return a function that measures ``point`` at each of ``sizes``, on servers of its own."""

    def measure(rounds: int, seconds: float, say: Say) -> list[Row]:
        rows = []
        for size in sizes:
            with tempfile.TemporaryDirectory() as text, ExitStack() as stack:
                fleet = Fleet(Path(text), stack, say)
                fleet.know(floor.rsgi())
                rows.append(point(Bench(fleet, rounds, seconds), size))
        return rows

    return measure


def _keys(bench: Bench, count: int) -> Row:
    """Measure with ``count`` keys and everything on; requests come from 997 of the keys."""
    ours = Ours(bench.fleet.folder)
    server = ours.rsgi(capacity=count + 1000)
    drawn = add_keys(ours.settings[server.name], count)
    bench.fleet.know(server)
    up = bench.fleet.need(server.name)
    # A server that starts reads all budgets once, which is not what is measured.
    if up is not None and not wait_until_quiet(up.pid):
        bench.fleet.say(f"the server with {count} keys was still busy after a minute")
    case = Case(f"{count} keys", server.name, tuple(request(CHAT, BODY, key) for key in drawn))
    return bench.row(case, floor.READ, count)


def _workers(bench: Bench, count: int) -> Row:
    """Measure ``count`` workers on one core: what sharing costs, and not what it gains."""
    ours = Ours(bench.fleet.folder)
    server = ours.rsgi(workers=count)
    bench.fleet.know(server)
    payload = request(CHAT, BODY, ours.keys[server.name].everything)
    case = Case(f"{count} workers", server.name, (payload,))
    return bench.row(case, floor.READ, count)


def _log_rows(bench: Bench, count: int) -> Row:
    """Measure while the drainer adds to a log that already has ``count`` rows."""
    ours = Ours(bench.fleet.folder)
    server = ours.rsgi()
    add_log_rows(ours.settings[server.name], count)
    bench.fleet.know(server)
    payload = request(CHAT, BODY, ours.keys[server.name].everything)
    case = Case(f"{count} rows", server.name, (payload,))
    return bench.row(case, floor.READ, count)


def _bodies(rounds: int, seconds: float, say: Say) -> list[Row]:
    with tempfile.TemporaryDirectory() as text, ExitStack() as stack:
        bench, server, key = _one_server(Path(text), stack, rounds, seconds, say)
        return [
            bench.row(
                Case(f"{size} bytes", server, (request(CHAT, body_of(size), key),)),
                Case("floor", floor.PLAIN, (request(CHAT, body_of(size), key),)),
                size,
            )
            for size in BODIES
        ]


def _streams(rounds: int, seconds: float, say: Say) -> list[Row]:
    with tempfile.TemporaryDirectory() as text, ExitStack() as stack:
        bench, server, key = _one_server(Path(text), stack, rounds, seconds, say)
        return [
            bench.row(
                Case(f"{chunks} chunks", server, (request(CHAT, stream_body(chunks), key),)),
                Case("floor", floor.CHUNKS, (request(f"/{chunks}", BODY),)),
                chunks,
            )
            for chunks in CHUNKS
        ]


def _one_server(
    folder: Path, stack: ExitStack, rounds: int, seconds: float, say: Say
) -> tuple[Bench, str, str]:
    """Make gateway and floors; return the bench, the gateway's name, and a key of everything."""
    ours = Ours(folder)
    fleet = Fleet(folder, stack, say)
    server = ours.rsgi()
    for each in (floor.rsgi(), floor.stream(), server):
        fleet.know(each)
    return Bench(fleet, rounds, seconds), server.name, ours.keys[server.name].everything


GROWTH: Final = {
    "growth-keys": Growth("keys in the arena, requests of 997 of them", _each(KEYS, _keys)),
    "growth-workers": Growth("workers, all on one core", _each(WORKERS, _workers)),
    "growth-body": Growth("bytes of the request's body", _bodies),
    "growth-stream": Growth("chunks of a streamed answer", _streams),
    "growth-log": Growth("rows in the request log", _each(LOG_ROWS, _log_rows)),
}


def body_of(size: int) -> bytes:
    """Build the body of a chat request of exactly ``size`` bytes.

    Most of it is a system message, which echo does not repeat, so that the answer stays small.
    """
    head = b'{"model":"gpt-4o","messages":[{"role":"system","content":"'
    tail = b'"},{"role":"user","content":"Hi"}]}'
    return head + b"x" * (size - len(head) - len(tail)) + tail


def add_keys(settings: Settings, count: int) -> Sequence[str]:
    """Put ``count`` keys with limits and budgets into a store that no server has open.

    Return a sample of the keys.
    """
    pepper_id, pepper = load_peppers(settings.pepper_path)[0]
    names = [f"sk-nemo-{number:020d}" for number in range(count)]
    with sqlite3.connect(settings.data_dir / "nemorouter.db") as connection:
        team, org, user, version = connection.execute(
            "SELECT t.id, t.org_id, k.user_id, t.version "
            "FROM teams AS t JOIN keys AS k ON k.team_id = t.id WHERE t.name = 'everything'"
        ).fetchone()
        fixed = (org, team, user, pepper_id, version)
        connection.executemany(
            "INSERT INTO keys (id, name, digest, last4, org_id, team_id, user_id, "
            "pepper_id, version, rpm, tpm) "
            f"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, {MAX_LIMIT}, {MAX_LIMIT})",
            (
                (_FIRST_ID + i, f"k{i}", hash_key(name, pepper), name[-4:], *fixed)
                for i, name in enumerate(names)
            ),
        )
        connection.executemany(
            "INSERT INTO budgets (id, kind, scope_id, max_spend_nano, duration) "
            "VALUES (?, 4, ?, 1000000000000000, 3)",
            ((_FIRST_ID + i, _FIRST_ID + i) for i in range(count)),
        )
    connection.close()
    return random.Random(7).sample(names, _SAMPLE)


def add_log_rows(settings: Settings, count: int) -> None:
    """Put ``count`` rows of the last month into the request log."""
    drawn = random.Random(7)
    now = 1_795_000_000_000
    same = {
        "journal_id": 1,
        "team_id": 1,
        "user_id": 1,
        "org_id": 1,
        "model": "gpt-4o",
        "upstream": "echo",
        "endpoint": 0,
        "status": 200,
        "outcome": 1,
        "stream": 0,
        "input_tokens": 20,
        "cached_tokens": 0,
        "output_tokens": 10,
        "cost_nano": 100,
        "reserved_nano": 200,
        "latency_us": 300,
    }
    columns = ", ".join(("seq", "at_ms", "key_id", *same))
    marks = ", ".join("?" * (3 + len(same)))

    def row(number: int) -> tuple[object, ...]:
        at = now - drawn.randrange(30 * 86_400_000)
        return (number, at, drawn.randrange(1000), *same.values())

    with sqlite3.connect(settings.data_dir / "nemorouter.db") as connection:
        connection.executemany(
            f"INSERT INTO requests ({columns}) VALUES ({marks})", map(row, range(count))
        )
    connection.close()
