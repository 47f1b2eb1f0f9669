"""What a request costs as things grow: keys, workers, the body, the stream, the log in the store."""

import random
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

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
    """A piece of the report: its title, and what measures its rows."""

    title: str
    measure: Callable[[int, float, Say], list[Row]]


def _each(
    sizes: Sequence[int], point: Callable[[Bench, int], Row]
) -> Callable[[int, float, Say], list[Row]]:
    """Every size on servers of its own."""

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
    """Everything on; requests of 997 keys drawn from all."""
    ours = Ours(bench.fleet.folder)
    server = ours.rsgi(capacity=count + 1000)
    drawn = add_keys(ours.settings[server.name], count)
    bench.fleet.know(server)
    up = bench.fleet.need(server.name)
    if up is not None and not wait_until_quiet(up.pid):  # its first look at all budgets
        bench.fleet.say(f"the server with {count} keys was still busy with itself after a minute")
    case = Case(f"{count} keys", server.name, tuple(request(CHAT, BODY, key) for key in drawn))
    return bench.row(case, floor.READ, count)


def _workers(bench: Bench, count: int) -> Row:
    """Both workers on the server's one core: what sharing costs, not what it gains."""
    ours = Ours(bench.fleet.folder)
    server = ours.rsgi(workers=count)
    bench.fleet.know(server)
    case = Case(
        f"{count} workers", server.name, (request(CHAT, BODY, ours.keys[server.name].everything),)
    )
    return bench.row(case, floor.READ, count)


def _log_rows(bench: Bench, count: int) -> Row:
    """The drainer adds to a log that holds ``count`` rows already."""
    ours = Ours(bench.fleet.folder)
    server = ours.rsgi()
    add_log_rows(ours.settings[server.name], count)
    bench.fleet.know(server)
    case = Case(
        f"{count} rows", server.name, (request(CHAT, BODY, ours.keys[server.name].everything),)
    )
    return bench.row(case, floor.READ, count)


def _bodies(rounds: int, seconds: float, say: Say) -> list[Row]:
    with tempfile.TemporaryDirectory() as text, ExitStack() as stack:
        bench, server, key = _one_server(Path(text), stack, rounds, seconds, say)
        return [
            bench.row(
                Case(f"{size} bytes", server, (request(CHAT, body_of(size), key),)),
                Case("floor", "Granian RSGI", (request(CHAT, body_of(size), key),)),
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
                Case("floor", "Granian RSGI, chunks", (request(f"/{chunks}", BODY),)),
                chunks,
            )
            for chunks in CHUNKS
        ]


def _one_server(
    folder: Path, stack: ExitStack, rounds: int, seconds: float, say: Say
) -> tuple[Bench, str, str]:
    """The gateway and the floors, the gateway's name, and a key with everything on."""
    ours, fleet = Ours(folder), Fleet(folder, stack, say)
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
    """A chat request of exactly ``size`` bytes, most of it in a system message, so that the answer
    stays small.
    """
    head = b'{"model":"gpt-4o","messages":[{"role":"system","content":"'
    tail = b'"},{"role":"user","content":"Hi"}]}'
    return head + b"x" * (size - len(head) - len(tail)) + tail


def add_keys(settings: Settings, count: int) -> Sequence[str]:
    """Put ``count`` keys with limits and budgets into the store before a server reads it; a sample
    of them.
    """
    pepper_id, pepper = load_peppers(settings.pepper_path)[0]
    names = [f"sk-nemo-{number:020d}" for number in range(count)]
    with sqlite3.connect(settings.data_dir / "nemorouter.db") as connection:
        query = "SELECT t.id, t.org_id, k.user_id, t.version FROM teams AS t JOIN keys AS k ON k.team_id = t.id "
        team, org, user, version = connection.execute(
            query + "WHERE t.name = 'everything'"
        ).fetchone()
        fixed = (org, team, user, pepper_id, version)
        connection.executemany(
            "INSERT INTO keys (id, name, digest, last4, org_id, team_id, user_id, pepper_id, version, rpm, tpm) "
            f"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, {MAX_LIMIT}, {MAX_LIMIT})",
            (
                (_FIRST_ID + i, f"k{i}", hash_key(name, pepper), name[-4:], *fixed)
                for i, name in enumerate(names)
            ),
        )
        connection.executemany(
            "INSERT INTO budgets (id, kind, scope_id, max_spend_nano, duration) VALUES (?, 4, ?, 1000000000000000, 3)",
            ((_FIRST_ID + i, _FIRST_ID + i) for i in range(count)),
        )
    connection.close()
    return random.Random(7).sample(names, _SAMPLE)


def add_log_rows(settings: Settings, count: int) -> None:
    """Put ``count`` rows of the last month into the request log."""
    columns = (
        "boot, seq, at_ms, key_id, team_id, user_id, org_id, model, upstream, endpoint, status, outcome, stream, "
        "input_tokens, cached_tokens, output_tokens, cost_nano, reserved_nano, latency_us"
    )
    drawn = random.Random(7)
    now = 1_795_000_000_000

    def row(i: int) -> tuple[Any, ...]:
        at = now - drawn.randrange(30 * 86_400_000)
        return (
            1,
            i,
            at,
            drawn.randrange(1000),
            1,
            1,
            1,
            "gpt-4o",
            "echo",
            0,
            200,
            1,
            0,
            20,
            0,
            10,
            100,
            200,
            300,
        )

    with sqlite3.connect(settings.data_dir / "nemorouter.db") as connection:
        marks = ", ".join("?" * 19)
        connection.executemany(
            f"INSERT INTO requests ({columns}) VALUES ({marks})", (row(i) for i in range(count))
        )
    connection.close()
