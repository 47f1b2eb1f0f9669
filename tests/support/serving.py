"""A real ``nemorouter serve`` in a process of its own, and a client that says when it asked."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec

import nemorouter
from nemorouter.drainer.thread import Drainer
from nemorouter.settings import Settings
from tests.support import servers

_PACKAGE = str(Path(nemorouter.__file__).parents[1])
_START_S = 60.0


class Answer(NamedTuple):
    """An answer, and the boot clock in microseconds before the request and after the answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    begun_us: int
    ended_us: int

    @property
    def code(self) -> str:
        return str(msgspec.json.decode(self.body)["error"]["code"])


def boot_us() -> int:
    """Read the clock that the gate's buckets run on."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def chat(model: str = "echo", content: str = "hello", **fields: Any) -> bytes:
    """Body of a chat completion."""
    return msgspec.json.encode(servers.chat(model, content, **fields))


class Client:
    """One kept connection. A request whose answer did not come is None: nothing is known of it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def connect(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def ask(
        self, key: str, body: bytes | None = None, path: str = "/v1/chat/completions"
    ) -> Answer | None:
        begun = boot_us()
        try:
            if self._writer is None:
                await self.connect()
            return await self._ask(
                f"Authorization: Bearer {key}\r\n", chat() if body is None else body, path, begun
            )
        except (OSError, asyncio.IncompleteReadError, ValueError):
            await self.close()
            return None

    async def raw(self, head: bytes) -> Answer:
        """Send these bytes and read an answer."""
        reader, writer = self._open()
        writer.write(head)
        return await _read(reader, boot_us())

    async def _ask(self, credential: str, body: bytes, path: str, begun: int) -> Answer:
        reader, writer = self._open()
        head = f"POST {path} HTTP/1.1\r\nHost: t\r\n{credential}Content-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return await _read(reader, begun)

    def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        assert self._reader is not None
        assert self._writer is not None
        return self._reader, self._writer

    async def close(self) -> None:
        writer = self._writer
        self._writer = None
        self._reader = None
        if writer is not None:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def __aenter__(self) -> Self:
        return await self.connect()

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def _read(reader: asyncio.StreamReader, begun: int) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip()
        for name, _, value in (line.partition(":") for line in head[1:])
        if name
    }
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(int(head[0].split()[1]), headers, body, begun, boot_us())


class Server:
    """Start it with ``async with``; what it printed is in ``log``."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.log = settings.data_dir.parent / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        env = {
            name: value for name, value in os.environ.items() if not name.startswith("NEMOROUTER_")
        }
        env |= self.settings.to_env() | {"PYTHONPATH": _PACKAGE}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from nemorouter.cli import main; main()", "serve"],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.settings.data_dir.parent,
                start_new_session=True,
            )

    async def ready(self) -> None:
        """Wait until every worker admits."""
        end = time.monotonic() + _START_S
        while (
            len(list((self.settings.data_dir / "journal").glob("*.journal")))
            < self.settings.workers
        ):
            await self._still_starting(end)
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                async with Client(self.settings.port) as client:
                    answer = await client.raw(b"GET /readyz HTTP/1.1\r\nHost: t\r\n\r\n")
                    if answer.status == 200:
                        return
            await self._still_starting(end)

    async def _still_starting(self, end: float) -> None:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        assert time.monotonic() < end, self.log.read_text()
        await asyncio.sleep(0.02)

    def workers(self) -> list[int]:
        """Process ids of the workers that live now: those that hold the lock of a journal."""
        journals = sorted((self.settings.data_dir / "journal").glob("*.journal"))
        return [pid for path in journals if (pid := holder(path)) is not None]

    def kill_worker(self, index: int = 0) -> None:
        workers = self.workers()
        if workers:
            with suppress(ProcessLookupError):
                os.kill(workers[index % len(workers)], signal.SIGKILL)

    def kill_all(self) -> None:
        """SIGKILL to master and workers, at one go."""
        self._end()

    def stop(self, patience_s: float = 20.0) -> int:
        """Send SIGTERM, and return the exit code.

        What does not end in time is killed, and subprocess.TimeoutExpired raised.
        """
        assert self._process is not None
        try:
            if self._process.poll() is None:
                self._process.terminate()
                self._process.wait(patience_s)
        finally:
            code = self._end()
        return code

    def _end(self) -> int:
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return self._process.wait(10)

    async def __aenter__(self) -> Self:
        self.start()
        try:
            await self.ready()
        except BaseException:
            self.kill_all()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop it, and bring into the store what is left."""
        await asyncio.to_thread(self.stop)
        await self.recover()

    async def recover(self) -> None:
        """Recover the journals that killed processes left, as the next start does."""
        drainer = Drainer(self.settings)
        drainer.start()
        await asyncio.to_thread(drainer.stop)


def holder(path: Path) -> int | None:
    """Return the process that holds the lock of a file, if any."""
    try:
        inode = f":{path.stat().st_ino}"
    except FileNotFoundError:
        return None
    for line in Path("/proc/locks").read_text().splitlines():
        if " FLOCK " in line and " -> " not in line and line.split()[5].endswith(inode):
            return int(line.split()[4])
    return None


@asynccontextmanager
async def clients(port: int, count: int) -> AsyncIterator[list[Client]]:
    """Open connections in advance, so that requests leave at once."""
    made = await asyncio.gather(*(Client(port).connect() for _ in range(count)))
    try:
        yield list(made)
    finally:
        await asyncio.gather(*(client.close() for client in made))
