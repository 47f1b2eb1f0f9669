"""A real store and a real server with many keys: how long until the arena is loaded, and until a
new worker admits.

`python -m benches.micro.live <keys>` prints one JSON object. Every key has limits and a budget.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from benches.report.pieces import Live
from nemorouter.arena import attach
from nemorouter.bench.process import free_port
from nemorouter.bench.world import secret
from nemorouter.datadir import orphaned_arenas
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.secrets import hash_key, load_peppers
from nemorouter.services.operations.bootstrap import bootstrap
from nemorouter.settings import Settings
from nemorouter.store.engine import Store

_FIRST_ID = 10**6
_BODY = b'{"model":"echo","messages":[{"role":"user","content":"hi"}],"max_tokens":5}'
_SETTLED_S = 2.5  # a worker that dies younger is not replaced at once
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
    """A store with ``keys`` keys beside the first one, each with limits and a budget of its own."""
    store = await Store.open(settings, migrate=True)
    await bootstrap(store, settings)
    await store.close()
    (_, pepper), *_ = load_peppers(settings.pepper_path)
    with contextlib.closing(sqlite3.connect(settings.data_dir / "nemorouter.db")) as db, db:
        org, team, user = db.execute("SELECT org_id, team_id, user_id FROM keys").fetchone()
        owners = (org, team, user)
        db.executemany(
            "INSERT INTO keys (id, name, digest, last4, org_id, team_id, user_id, pepper_id, version, rpm, tpm) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, 1, 1, 600, 1000000)",
            (
                (_FIRST_ID + n, f"key {n}", hash_key(secret(n), pepper), secret(n)[-4:], *owners)
                for n in range(1, keys + 1)
            ),
        )
        db.executemany(
            "INSERT INTO budgets (id, kind, scope_id, max_spend_nano, duration) VALUES (?, 4, ?, 50000000000, 3)",
            ((_FIRST_ID + n, _FIRST_ID + n) for n in range(1, keys + 1)),
        )


def _attach(settings: Settings) -> tuple[float, int]:
    """Seconds of a process of its own to map the arena, made from the store if there is none; bytes
    of its file.
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
    """The status of a request on a connection of its own; 0 if there was no answer."""
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: b\r\nauthorization: Bearer {key}\r\nconnection: close\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(_BODY)}\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            client.sendall(head.encode() + _BODY)
            return int(client.recv(4096).split()[1])
    except (OSError, IndexError):
        return 0


def _until_admitted(port: int, key: str) -> float:
    """Seconds until a request is answered."""
    began = time.perf_counter()
    while (status := _ask(port, key)) != 200:
        if status or time.perf_counter() - began > _PATIENCE_S:
            raise RuntimeError(f"the server answers {status}")
        time.sleep(0.005)
    return time.perf_counter() - began


def _respawn(settings: Settings, keys: int, kills: int = 5) -> tuple[float, float]:
    """Seconds from the start of a server, and the longest from the death of its only worker, to the
    next answer.
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
    children = Path(f"/proc/{master}/task/{master}/children").read_text("ascii").split()
    return next(
        int(pid)
        for pid in children
        if b"import drain" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


def measure(keys: int) -> Live:
    """All figures of one size."""
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
