"""Measure how long a real server with many keys takes to load its arena and to replace a worker.

python -m benches.micro.live KEYS

It prints one JSON object. Every key has limits and a budget.
"""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from benches.report.pieces import Live
from nemorouter.arena import attach
from nemorouter.bench.client import ask, request
from nemorouter.bench.process import free_port, is_drainer
from nemorouter.bench.world import secret
from nemorouter.datadir import orphaned_arenas
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.secrets import hash_key, load_peppers
from nemorouter.services.operations.bootstrap import bootstrap
from nemorouter.settings import Settings
from nemorouter.store.engine import Store

_FIRST_ID = 10**6
_BODY = b'{"model":"echo","messages":[{"role":"user","content":"hi"}],"max_tokens":5}'
_SETTLED_S = 2.5
"""The age in seconds from which a worker that dies is replaced at once."""
_PATIENCE_S = 120.0
_WORKER = """
import asyncio, json, sys, time
from nemorouter.arena import attach
from nemorouter.settings import Settings
settings = Settings.load()
began = time.perf_counter()
arena = asyncio.run(attach.attach(settings))
print(json.dumps([arena.scopes, time.perf_counter() - began]))
"""


async def _fill(settings: Settings, keys: int) -> None:
    """Create a store with ``keys`` keys beside the first one, each with limits and a budget."""
    store = await Store.open(settings, migrate=True)
    await bootstrap(store, settings)
    await store.close()
    (_, pepper), *_ = load_peppers(settings.pepper_path)
    with contextlib.closing(sqlite3.connect(settings.data_dir / "nemorouter.db")) as db, db:
        org, team, user = db.execute("SELECT org_id, team_id, user_id FROM keys").fetchone()
        owners = (org, team, user)
        db.executemany(
            "INSERT INTO keys (id, name, digest, last4, org_id, team_id, user_id, "
            "pepper_id, version, rpm, tpm) VALUES (?, ?, ?, ?, ?, ?, ?, 1, 1, 600, 1000000)",
            (
                (_FIRST_ID + n, f"key {n}", hash_key(secret(n), pepper), secret(n)[-4:], *owners)
                for n in range(1, keys + 1)
            ),
        )
        db.executemany(
            "INSERT INTO budgets (id, kind, scope_id, max_spend_nano, duration) "
            "VALUES (?, 4, ?, 50000000000, 3)",
            ((_FIRST_ID + n, _FIRST_ID + n) for n in range(1, keys + 1)),
        )


def _attach(settings: Settings) -> tuple[float, int]:
    """Map the arena in a new process; return its seconds, and the file's bytes for each scope.

    The arena is built from the store if there is none yet.
    """
    made = subprocess.run(
        [sys.executable, "-c", _WORKER],
        env=os.environ | settings.to_env(),
        check=True,
        stdout=subprocess.PIPE,
    )
    scopes, seconds = json.loads(made.stdout.splitlines()[-1])
    note = DataDir(settings.data_dir).note()
    assert note is not None
    return seconds, Path(note.path).stat().st_blocks * 512 // scopes


def _ask(port: int, key: str) -> int:
    """Send a request over a new connection; return its status, or 0 if there was no answer."""
    payload = request("/v1/chat/completions", _BODY, key, connection="close")
    try:
        return ask(port, payload, timeout=10).status
    except (OSError, ValueError):
        return 0


def _until_admitted(port: int, key: str) -> float:
    """Ask until a request is admitted; return the seconds. RuntimeError on any other answer."""
    began = time.perf_counter()
    while (status := _ask(port, key)) != 200:
        if status or time.perf_counter() - began > _PATIENCE_S:
            raise RuntimeError(f"the server answers {status}")
        time.sleep(0.005)
    return time.perf_counter() - began


def _respawn(settings: Settings, keys: int, kills: int = 5) -> tuple[float, float]:
    """Start a server and kill its only worker ``kills`` times; measure until it admits again.

    Return the seconds from the start, and the most seconds from a kill, to the next answer.
    """
    with subprocess.Popen(
        [sys.executable, "-c", "from nemorouter.cli import main; main()", "serve"],
        env=os.environ | settings.to_env(),
        stdout=subprocess.DEVNULL,
    ) as master:
        try:
            start = _until_admitted(settings.port, secret(keys))
            worst = 0.0
            for kill in range(kills):
                time.sleep(_SETTLED_S)
                os.kill(_worker(master.pid), signal.SIGKILL)
                worst = max(worst, _until_admitted(settings.port, secret(1 + kill * keys // kills)))
        finally:
            master.terminate()
    return start, worst


def _worker(master: int) -> int:
    """Return the id of the only worker of ``master``, a child that is not the drainer."""
    children = Path(f"/proc/{master}/task/{master}/children").read_text("ascii").split()
    return next(pid for pid in map(int, children) if not is_drainer(pid))


def measure(keys: int) -> Live:
    """Fill a store with ``keys`` keys and measure a server on it."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            data_dir=Path(folder) / "data",
            port=free_port(),
            capacity=keys + 1_000,
            log_level="error",
            workers=1,
        )
        asyncio.run(_fill(settings, keys))
        load_s, bytes_a_scope = _attach(settings)
        try:
            start_s, respawn_s = _respawn(settings, keys)
        finally:
            attach.detach(settings)
            note = DataDir(settings.data_dir).note()
            if note is not None:
                orphaned_arenas.remove(Path(note.path))
    return Live(load_s=load_s, bytes_a_key=bytes_a_scope, start_s=start_s, respawn_s=respawn_s)


if __name__ == "__main__":
    print(msgspec.json.encode(measure(int(sys.argv[1]))).decode())
