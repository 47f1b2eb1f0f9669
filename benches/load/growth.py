"""What a request costs as things grow: keys, workers, the body, the stream, the log in the store."""

import random
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benches.load import floor
from benches.load.case import Case, Scenario
from benches.load.measure import Bench, Figures, Say
from benches.load.ours import Ours
from benches.load.scenarios import stream_body
from nemorouter.bench.client import request
from nemorouter.bench.servers import BODY, CHAT
from nemorouter.pepper import hash_key, load_peppers
from nemorouter.settings import Settings

KEYS = (1_000, 100_000, 1_000_000)
WORKERS = (1, 2)
BODIES = (100, 1_000, 10_000, 100_000, 1_000_000)
CHUNKS = (10, 50, 200, 1_000)
LOG_ROWS = (0, 100_000, 1_000_000)
_FIRST_ID = 1 << 60
_SAMPLE = 997


def growth(rounds: int, seconds: float, say: Say) -> dict[str, list[Figures]]:
    """One table for each thing that grows."""
    return {
        "keys": [_keys(count, rounds, seconds, say) for count in KEYS],
        "workers": [_workers(count, rounds, seconds, say) for count in WORKERS],
        **_bodies_and_streams(rounds, seconds, say),
        "log_rows": [_log_rows(count, rounds, seconds, say) for count in LOG_ROWS],
    }


def _keys(count: int, rounds: int, seconds: float, say: Say) -> Figures:
    """Everything on; requests of 997 keys drawn from all."""
    with tempfile.TemporaryDirectory() as text, ExitStack() as stack:
        ours, bench = Ours(Path(text)), Bench(Path(text), stack, say)
        server = ours.rsgi(capacity=count + 1000)
        drawn = add_keys(ours.settings[server.name], count)
        bench.add(floor.rsgi())
        up = bench.add(server)
        assert up is not None, bench.skipped
        case = Case(f"{count} keys", server.name, tuple(request(CHAT, BODY, key) for key in drawn))
        return {"size": count, **_row(bench, case, floor.READ, rounds, seconds)}


def _workers(count: int, rounds: int, seconds: float, say: Say) -> Figures:
    """Both workers on the server's one core: what sharing costs, not what it gains."""
    with tempfile.TemporaryDirectory() as text, ExitStack() as stack:
        ours, bench = Ours(Path(text)), Bench(Path(text), stack, say)
        server = ours.rsgi(workers=count)
        bench.add(floor.rsgi())
        bench.add(server)
        case = Case(f"{count} workers", server.name, (request(CHAT, BODY, ours.keys[server.name].everything),))
        return {"size": count, **_row(bench, case, floor.READ, rounds, seconds)}


def _bodies_and_streams(rounds: int, seconds: float, say: Say) -> dict[str, list[Figures]]:
    with tempfile.TemporaryDirectory() as text, ExitStack() as stack:
        ours, bench = Ours(Path(text)), Bench(Path(text), stack, say)
        server = ours.rsgi()
        for each in (floor.rsgi(), floor.stream(), server):
            bench.add(each)
        key = ours.keys[server.name].everything
        bodies, streams = [], []
        for size in BODIES:
            sent = body_of(size)
            base = Case("floor", "Granian RSGI", (request(CHAT, sent, key),))
            case = Case(f"{size} bytes", server.name, (request(CHAT, sent, key),))
            bodies.append({"size": size, **_row(bench, case, base, rounds, seconds)})
        for chunks in CHUNKS:
            base = Case("floor", "Granian RSGI, chunks", (request(f"/{chunks}", BODY),))
            case = Case(f"{chunks} chunks", server.name, (request(CHAT, stream_body(chunks), key),))
            streams.append({"size": chunks, **_row(bench, case, base, rounds, seconds)})
        return {"body": bodies, "stream": streams}


def _log_rows(count: int, rounds: int, seconds: float, say: Say) -> Figures:
    """The drainer adds to a log that holds ``count`` rows already."""
    with tempfile.TemporaryDirectory() as text, ExitStack() as stack:
        ours, bench = Ours(Path(text)), Bench(Path(text), stack, say)
        server = ours.rsgi()
        add_log_rows(ours.settings[server.name], count)
        bench.add(floor.rsgi())
        bench.add(server)
        case = Case(f"{count} rows", server.name, (request(CHAT, BODY, ours.keys[server.name].everything),))
        return {"size": count, **_row(bench, case, floor.READ, rounds, seconds)}


def _row(bench: Bench, case: Case, base: Case, rounds: int, seconds: float) -> Figures:
    found = bench.scenario(Scenario("growth", case.name, base, [case]), rounds, seconds)
    row: Figures = found["cases"][1]
    return row


def body_of(size: int) -> bytes:
    """A chat request of exactly ``size`` bytes, most of it in a system message, so that the answer stays small."""
    head = b'{"model":"gpt-4o","messages":[{"role":"system","content":"'
    tail = b'"},{"role":"user","content":"Hi"}]}'
    return head + b"x" * (size - len(head) - len(tail)) + tail


def add_keys(settings: Settings, count: int) -> Sequence[str]:
    """Put ``count`` keys with limits and budgets into the store before a server reads it; a sample of them."""
    pepper_id, pepper = load_peppers(settings.pepper_path)[0]
    names = [f"sk-nemo-{number:020d}" for number in range(count)]
    with sqlite3.connect(settings.data_dir / "nemorouter.db") as connection:
        query = "SELECT t.id, t.org_id, k.user_id, t.version FROM teams AS t JOIN keys AS k ON k.team_id = t.id "
        team, org, user, version = connection.execute(query + "WHERE t.name = 'everything'").fetchone()
        fixed = (org, team, user, pepper_id, version)
        connection.executemany(
            "INSERT INTO keys (id, name, digest, last4, org_id, team_id, user_id, pepper_id, version, rpm, tpm) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 10000000000, 10000000000)",
            ((_FIRST_ID + i, f"k{i}", hash_key(name, pepper), name[-4:], *fixed) for i, name in enumerate(names)),
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
        return (1, i, at, drawn.randrange(1000), 1, 1, 1, "gpt-4o", "echo", 0, 200, 1, 0, 20, 0, 10, 100, 200, 300)

    with sqlite3.connect(settings.data_dir / "nemorouter.db") as connection:
        marks = ", ".join("?" * 19)
        connection.executemany(f"INSERT INTO requests ({columns}) VALUES ({marks})", (row(i) for i in range(count)))
    connection.close()
