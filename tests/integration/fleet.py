"""Several hosts on one machine: a data directory and a server each, one store and one Redis for
all.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import msgspec

from nemorouter.services.transaction.apply import apply
from nemorouter.services.transaction.context import Context
from nemorouter.settings import Settings
from tests.faults.server import Client, Server, clients, free_port
from tests.faults.world import World
from tests.integration.redis_servers import PROGRAM


class RedisServer:
    """A redis-server of our own that keeps nothing on disk."""

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="nemo-redis-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it empty, and wait until it answers."""
        program = shutil.which(PROGRAM)
        assert program is not None, "Redis is missing: apt-get install redis-server"
        command = [
            program,
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(self.folder),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while self.run("PING") != "PONG":
            assert time.monotonic() < end, "redis-server does not answer"
            time.sleep(0.02)

    def run(self, *command: str) -> str:
        """One command by redis-cli."""
        cli = ["redis-cli", "-p", str(self.port), *command]
        done = subprocess.run(cli, check=False, capture_output=True, timeout=20)
        return done.stdout.decode("utf-8", "backslashreplace").strip()

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP, SIGCONT or SIGKILL."""
        assert self._process is not None
        self._process.send_signal(number)
        if number is signal.SIGKILL:
            self._process.wait()

    def remove(self) -> None:
        """End it for good."""
        self.signal(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


class Wire:
    """A way to a server on this machine that can be cut: then nothing passes, and nobody is told."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._whole = asyncio.Event()
        self._whole.set()
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for end in tuple(self._ends):
            end.close()
            with suppress(OSError):
                await end.wait_closed()

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer)
        self._start(self._pair(reader, writer))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pair(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._whole.wait()
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._ends.add(far_writer)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            self._start(self._pass(source, sink))

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):  # one end is gone: the other hears of it
            while data := await source.read(65_536):
                await self._whole.wait()
                sink.write(data)
                await sink.drain()
        sink.close()


@dataclass
class Fleet:
    """``world`` writes the store without being a host, as a command line on another machine does."""

    world: World
    redis: RedisServer
    root: Path
    servers: list[Server] = field(default_factory=list)

    def settings(self, name: str, **options: Any) -> Settings:
        """Of a host: the store, secrets and Redis of all, and a data directory of its own."""
        return msgspec.structs.replace(
            self.world.settings, data_dir=self.root / name / "data", port=free_port(), **options
        )

    async def settle(self) -> None:
        """Returns when every host obeys what the world's plain SQL wrote."""
        await apply(self.world.settings, self.world.store)

    async def context(self) -> Context:
        """For services on the world's store."""
        return await Context.attach(self.world.store, self.world.settings, create=True)


@asynccontextmanager
async def fleet(
    root: Path,
    hosts: int = 4,
    redis: RedisServer | None = None,
    each: Callable[[int, RedisServer], dict[str, Any]] = lambda number, redis: {},
    **options: Any,
) -> AsyncIterator[Fleet]:
    """``hosts`` servers that are ready; ``each`` answers what is special in the settings of one."""
    values: dict[str, Any] = {
        "log_level": "warning",
        "journal_slots": 4096,
        "capacity": 16_384,
        "workers": 1,
        **options,
    }
    own = redis or RedisServer()
    root.mkdir(exist_ok=True)
    shared = {
        "database_url": f"sqlite:///{root}/store.db",
        "pepper_file": root / "pepper",
        "audit_key_file": root / "audit",
        "redis_url": own.url,
    }
    try:
        world = await World.make(root / "outside", **{**values, **shared, **options})
        made = Fleet(world, own, root)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(world.close)
            await made.context()  # draws the secrets
            for number in range(hosts):
                settings = made.settings(f"host{number}", **each(number, own))
                settings.data_dir.parent.mkdir(parents=True)
                made.servers.append(Server(settings))
            await asyncio.gather(*(stack.enter_async_context(server) for server in made.servers))
            await made.settle()
            yield made
    finally:
        if redis is None:
            own.remove()


@asynccontextmanager
async def doors(made: Fleet, each: int = 1) -> AsyncIterator[list[list[Client]]]:
    """``each`` kept connections to every host."""
    async with AsyncExitStack() as stack:
        yield [
            list(await stack.enter_async_context(clients(server.settings.port, each)))
            for server in made.servers
        ]


def tree(pid: int) -> list[int]:
    """A process and all that it started."""
    found, at = [pid], 0
    while at < len(found):
        for task in Path(f"/proc/{found[at]}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
        at += 1
    return found


def freeze(server: Server, number: signal.Signals = signal.SIGSTOP) -> None:
    """Stop every process of a host where it stands, or let them go on."""
    for pid in tree(server.pid):
        os.kill(pid, number)
