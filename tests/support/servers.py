"""Run real servers on free ports: a data directory with keys, and the gateway in front of it.

with Host(tmp_path).serve("rsgi") as server: ...
"""

import asyncio
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from nemorouter.roles import Actor
from nemorouter.services.operations.bootstrap import bootstrap, local_actor, note_shown
from nemorouter.services.scopes import keys
from nemorouter.services.transaction.context import Context
from nemorouter.settings import Settings
from nemorouter.store.engine import Store

SERVE = (
    "from nemorouter.server.serve import run; from nemorouter.settings import Settings; "
    "run(Settings.load())"
)


def free_port() -> int:
    """Find a port that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(
    done: Callable[[], Any], seconds: float = 30, what: str | Path = "it did not happen"
) -> Any:
    """Wait until ``done`` returns a true value, and return it.

    AssertionError after ``seconds``; its text is ``what``, or the content of the log ``what``.
    """
    end = time.monotonic() + seconds
    while not (answer := done()):
        assert time.monotonic() < end, what.read_text() if isinstance(what, Path) else what
        time.sleep(0.02)
    return answer


@dataclass
class Answer:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for header, value in self.headers if header == name), None)

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def error(self) -> dict[str, str]:
        """The error object, after checking that the body is nothing else."""
        body = self.json
        assert set(body) == {"error"}, body
        assert set(body["error"]) == {"message", "type", "code"}, body
        error: dict[str, str] = body["error"]
        return error


@dataclass
class Server:
    """A running gateway."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def send(self, payload: bytes, *, timeout: float = 10) -> Answer:
        """Raw bytes on a connection of their own, and the first answer that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout) as client:
            client.sendall(payload)
            return read_answer(client, head=payload.startswith(b"HEAD "))

    def call(
        self,
        path: str = "/v1/chat/completions",
        body: Any = None,
        key: str | None = None,
        *,
        method: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Answer:
        """One request as a client library sends it; ``body`` is JSON, or bytes as they are."""
        data = (
            body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        )
        given = dict(headers)
        lines = [
            f"{method or ('POST' if data else 'GET')} {path} HTTP/1.1",
            "host: test",
            "connection: close",
        ]
        if key is not None:
            lines.append(f"authorization: Bearer {key}")
        if data:
            lines.append(f"content-length: {len(data)}")
            lines += [] if "content-type" in given else ["content-type: application/json"]
        lines += [f"{name}: {value}" for name, value in headers]
        return self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + data)


def read_answer(client: socket.socket, *, head: bool = False) -> Answer:
    """One answer off a connection, chunked or not; ConnectionError if it breaks off."""
    with client.makefile("rb") as stream:
        line = stream.readline()
        if not line:
            raise ConnectionError("closed without an answer")
        headers = []
        while (header := stream.readline()) not in (b"\r\n", b""):
            name, _, value = header.decode("latin-1").partition(":")
            headers.append((name.lower(), value.strip()))
        answer = Answer(int(line.split()[1]), headers, b"")
        if head:
            return answer
        if answer.header("transfer-encoding") == "chunked":
            while size := int(stream.readline(), 16):
                answer.body += stream.read(size)
                stream.readline()
        else:
            answer.body = stream.read(int(answer.header("content-length") or 0))
        return answer


@dataclass
class Host:
    """A data directory that is set up, whose keys can be made and rows read at any time."""

    folder: Path
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        options: dict[str, Any] = {
            "capacity": 1000,
            "journal_slots": 1024,
            "log_level": "warning",
        } | self.options
        self.settings = Settings(data_dir=self.folder / "data", **options)
        asyncio.run(self._bootstrap())

    async def _bootstrap(self) -> None:
        store = await Store.open(self.settings, migrate=True)
        await bootstrap(store, self.settings)
        await note_shown(store)
        await store.close()

    def change(self, work: Callable[[Context, Actor], Any]) -> Any:
        """Run one service as the owner; it is applied when this returns."""

        async def run() -> Any:
            context = await Context.open(self.settings)
            try:
                return await work(context, await local_actor(context))
            finally:
                await context.close()

        return asyncio.run(run())

    def key(self, name: str = "test", **limits: Any) -> str:
        """Make a key and return it."""
        created: keys.IssuedKey = self.change(
            lambda c, a: keys.create(c, a, keys.NewKey(name=name, **limits))
        )
        return created.key

    def rows(self, count: int) -> list[dict[str, Any]]:
        """Wait until ``count`` rows are in the request log, and return them.

        AssertionError: there are more, or they do not come.
        """
        until(lambda: self._count() >= count, what=f"fewer than {count} rows")
        time.sleep(0.15)  # one more turn of the drainer: a row too many would come now
        assert self._count() == count
        with sqlite3.connect(self.settings.data_dir / "nemorouter.db") as connection:
            connection.row_factory = sqlite3.Row
            return [
                dict(row)
                for row in connection.execute(
                    "SELECT * FROM requests ORDER BY at_ms, journal_id, seq"
                )
            ]

    def spent(self) -> int:
        """Nano-USD of all rows of the log."""
        with sqlite3.connect(self.settings.data_dir / "nemorouter.db") as connection:
            found: int = connection.execute(
                "SELECT coalesce(sum(cost_nano), 0) FROM requests"
            ).fetchone()[0]
            return found

    def _count(self) -> int:
        with sqlite3.connect(self.settings.data_dir / "nemorouter.db") as connection:
            found: int = connection.execute("SELECT count(*) FROM requests").fetchone()[0]
            return found

    @contextmanager
    def serve(
        self,
        kind: str = "rsgi",
        app: str = "nemorouter.app:app",
        arguments: tuple[str, ...] = (),
        port: int = 0,
        **options: Any,
    ) -> Iterator[Server]:
        """Run the gateway, or another ``app``, under a server of one kind.

        It is ``serve`` ("rsgi"), Granian's ASGI ("asgi") or "uvicorn". ``arguments`` are the
        server's own. Without a ``port``, it is a free one.
        """
        port = port or free_port()
        settings = msgspec.structs.replace(self.settings, port=port, **options)
        log = self.folder / f"server-{port}.log"
        env = {
            **os.environ,
            **settings.to_env(),
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                server_command(kind, app, port, arguments), env=env, stdout=output, stderr=output
            )
        server = Server(port, process, log)
        try:
            until(lambda: _is_ready(server), 60, log)
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(40)


def server_command(kind: str, app: str, port: int, arguments: tuple[str, ...] = ()) -> list[str]:
    """Return the command of a server of this kind."""
    match kind:
        case "rsgi":
            return [sys.executable, "-c", SERVE]
        case "asgi" | "granian-rsgi":
            interface = "asgi" if kind == "asgi" else "rsgi"
            options = [
                "--interface",
                interface,
                "--port",
                str(port),
                "--http",
                "1",
                "--no-ws",
                "--loop",
                "uvloop",
                *arguments,
            ]
            return [sys.executable, "-m", "granian", *options, app]
        case "uvicorn":
            return [
                sys.executable,
                "-m",
                "uvicorn",
                "--port",
                str(port),
                "--log-level",
                "warning",
                *arguments,
                app,
            ]
    raise ValueError(kind)


def _is_ready(server: Server) -> bool:
    assert server.process.poll() is None, server.log.read_text()
    try:
        return server.call("/readyz").status in (200, 404)
    except OSError:
        return False


def chat(
    model: str = "echo", text: str = "Say hello to the world", **fields: Any
) -> dict[str, Any]:
    """Make a chat request."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}
