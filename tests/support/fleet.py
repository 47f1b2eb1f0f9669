"""Run several hosts on one machine: a data directory and a server each, one store, one Redis."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from nemorouter.roles import Actor, Role
from nemorouter.services.transaction.apply import apply
from nemorouter.services.transaction.context import Context
from nemorouter.settings import Settings
from tests.support.processes import tree
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.servers import free_port
from tests.support.serving import Client, Server, clients
from tests.support.world import ORG, World


@dataclass
class Fleet:
    """Hosts on one store, which ``world`` writes without being a host, as a command line does."""

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
        """Wait until every host has applied what the world's plain SQL wrote."""
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
    own = redis or RedisServer().start()
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
            own.kill()


@asynccontextmanager
async def doors(made: Fleet, each: int = 1) -> AsyncIterator[list[list[Client]]]:
    """``each`` kept connections to every host."""
    async with AsyncExitStack() as stack:
        yield [
            list(await stack.enter_async_context(clients(server.settings.port, each)))
            for server in made.servers
        ]


def freeze(server: Server, number: signal.Signals = signal.SIGSTOP) -> None:
    """Stop every process of a host where it stands, or let them go on."""
    for pid in tree(server.pid):
        os.kill(pid, number)


READY = b"GET /readyz HTTP/1.1\r\nHost: t\r\n\r\n"


ACTOR = Actor(org=ORG, role=Role.OWNER, name="test", operator=True)


def through(wire: Proxy, number: int) -> dict[str, Any]:
    """Return the options by which the second host reaches Redis through ``wire``."""
    return {"redis_url": f"redis://127.0.0.1:{wire.port}/0"} if number == 1 else {}


async def status(client: Client, key: str) -> int:
    answer = await client.ask(key)
    assert answer is not None
    return answer.status


async def until_status(client: Client, key: str, wanted: int) -> None:
    end = time.monotonic() + 20
    while (found := await status(client, key)) != wanted:
        assert time.monotonic() < end, found
        await asyncio.sleep(0.05)
