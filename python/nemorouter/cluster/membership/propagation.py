"""Wait, after a commit, until every host has applied the change or admits nothing any more.

It never reports success where that is not so: what cannot be found out in time is a StoreError.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from redis.exceptions import RedisError
from sqlalchemy import select

from nemorouter.cluster.membership import disconnected
from nemorouter.cluster.membership.hosts import SILENCE_US, ChangeWait, RegistryView, Step
from nemorouter.cluster.membership.member import boot_us
from nemorouter.cluster.membership.registry import Registry
from nemorouter.cluster.redis import connect
from nemorouter.errors import StoreError
from nemorouter.settings import Settings
from nemorouter.store.engine import Store
from nemorouter.store.policies import change_seq
from nemorouter.store.schema import meta

_DEADLINE_S: Final = 2 * SILENCE_US / 1_000_000 + 5.0
"""Long enough for a registry that was lost while a host is cut off."""
_PAUSES_S: Final = (0.001, 0.002, 0.003, 0.005, 0.008, 0.013, 0.02, 0.03, 0.05)
_CALL_S: Final = 1.5


async def wait_until_applied(settings: Settings, store: Store, sequence: int = 0) -> None:
    """Wait until every host has applied the change ``sequence``, or has no lease any more.

    0 stands for the newest change. StoreError: it could not be confirmed in time.
    """
    if settings.redis_url is None:
        return
    if not sequence:
        async with store.read() as connection:
            sequence = await change_seq(connection)
    async with open_registry(settings.redis_url, store) as registry:
        await _wait(registry, store, sequence)


@asynccontextmanager
async def open_registry(url: str, store: Store) -> AsyncIterator[Registry]:
    """Open the registry of this store's installation over a connection of its own."""
    async with store.read() as connection:
        install = await install_id(connection)
    client = connect(url)
    try:
        yield Registry(client, install)
    finally:
        await client.aclose()


async def install_id(connection: Any) -> str:  # noqa: ANN401 - an AsyncConnection
    """Return the installation's name, which the store drew at random: it names the registry."""
    found = (await connection.execute(select(meta.c.value).where(meta.c.key == "install"))).scalar()
    return str(found or "new")


async def _wait(registry: Registry, store: Store, wanted: int) -> None:
    begun = boot_us()
    end = time.monotonic() + _DEADLINE_S
    wait = ChangeWait(wanted, begun)
    turn = 0
    told = False
    others = _DisconnectedHosts(store, wanted, begun)
    missing: tuple[str, ...] = ()
    trouble: Exception | None = None
    while time.monotonic() < end:
        try:
            async with asyncio.timeout(_CALL_S):
                asked = boot_us()
                look = await registry.announce(wanted, loud=not told)
                step = wait.see(look, asked, boot_us())
                await others.see()
                missing = step.missing + others.missing
                trouble = None
                turn = turn + 1
                told = True
                if step.done and others.done:
                    await registry.done(boot_us() - begun)
                    return
                await _act(registry, wanted, look, step)
        except (RedisError, OSError, TimeoutError) as error:
            trouble = error
            turn = max(turn, len(_PAUSES_S))
        await asyncio.sleep(_PAUSES_S[min(turn, len(_PAUSES_S)) - 1])
    raise StoreError(_explain(missing, trouble)) from trouble


class _DisconnectedHosts:
    """The wait for hosts that admit without Redis.

    A host that begins to do so after they were listed has read the change already.
    """

    def __init__(self, store: Store, wanted: int, begun: int) -> None:
        self._store = store
        self._wait = ChangeWait(wanted, begun)
        self.done = False
        self.missing: tuple[str, ...] = ()

    async def see(self) -> None:
        if self.done:
            return
        asked = boot_us()
        step = self._wait.see(await disconnected.look(self._store), asked, boot_us())
        self.done = step.done
        self.missing = step.missing
        for host in step.evict:
            await disconnected.evict(self._store, host)


async def _act(registry: Registry, wanted: int, look: RegistryView, step: Step) -> None:
    if step.fence:
        await registry.announce(wanted, *step.fence, loud=True)
    for host in step.evict:
        await registry.evict(look, host)
    if step.mature:
        await registry.mature(look)


def _explain(missing: tuple[str, ...], trouble: Exception | None) -> str:
    if trouble is not None:
        return (
            "Redis cannot be reached, so nobody knows whether all hosts apply it. "
            "Hosts that reach the store do so "
            "within a second or two; a host without Redis stops within five. "
            "Do it again to be sure."
        )
    return (
        "These hosts have not confirmed it: "
        f"{', '.join(missing) or 'none, but the registry is new'}. Do it again."
    )
