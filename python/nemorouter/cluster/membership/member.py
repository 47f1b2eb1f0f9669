"""Keep a host's membership: apply the store's changes, renew the lease, evict hosts that are gone.

It runs in the host's agent, never in a worker. No error ends it. Without Redis the lease runs out,
and every worker sees that in the arena by itself.
"""

import asyncio
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Protocol

from nemorouter._core import Arena
from nemorouter.arena import attach
from nemorouter.cluster.membership import disconnected
from nemorouter.cluster.membership.hosts import LEASE_US, RENEW_US, HostLease, RegistryView, Silence
from nemorouter.cluster.membership.registry import Registry
from nemorouter.datadir.paths import DataDir
from nemorouter.errors import ConfigurationError, NemoError
from nemorouter.log import get_logger
from nemorouter.store.engine import Store
from nemorouter.store.policies import change_seq

_RENEW_S: Final = RENEW_US / 1_000_000
# A call that takes longer is given up: the lease must be renewed over a new connection in time.
_ANSWER_S: Final = 1.5
# Without an answer of Redis for so long, this host writes its heartbeats into the store.
_DISCONNECTED_US: Final = LEASE_US // 2
# A host that could not read the store for so long does not register.
_BLIND_US: Final = LEASE_US // 2
_WATCH_S: Final = 3.0  # how often it looks at the others
_SOON_S: Final = 0.05  # after a refusal, and after an error
_RESTORED: Final = (
    "was a backup restored? Stop all servers, run `nemorouter hosts reset`, and start them again."
)
_REPEAT_S: Final = 60.0  # the same error is logged this often

_log = get_logger(__name__)


class Messages(Protocol):
    """redis-py's subscriber, as far as it is used."""

    async def subscribe(self, *channels: str) -> object: ...
    async def get_message(self, ignore_subscribe_messages: bool, timeout: float) -> Any: ...  # noqa: ANN401
    async def aclose(self) -> None: ...


class Membership:
    """One host among several. ``run`` it until the end; what it knows is there to be read."""

    def __init__(
        self,
        arena: Arena,
        store: Store,
        data: DataDir,
        registry: Registry,
        messages: Callable[[], Messages],
        about: Callable[[], str] = lambda: "{}",
        *,
        offline: bool = False,
    ) -> None:
        note = data.note()
        if note is None:
            raise ConfigurationError(f"The arena of {data.root} is gone. Restart all servers.")
        self.id = note.arena_epoch
        self.name = socket.gethostname()
        self.lease = HostLease()
        self.look: RegistryView | None = None
        self.renewed_us = 0  # when the newest renewal was granted
        self.applied = 0  # every change up to here is applied by this host
        self._arena = arena
        self._store = store
        self._data = data
        self._registry = registry
        self._messages = messages
        self._about = about
        self._silence = Silence()
        self.disconnected = False  # Redis is away, and the store alone lets this host admit
        self._offline = offline
        self._answered_us = boot_us()
        self._following = asyncio.Lock()
        self._read_us = boot_us()  # the store could be read then: the arena was just made from it
        self._caught_us = 0  # when the newest reading of the store began that went well
        self._hint = asyncio.Event()
        self._renew_now = asyncio.Event()
        self._announced = 0  # the newest change that the registry announced
        self._left = False
        self._logged: dict[str, tuple[str, float]] = {}

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until ``stopping``; the lease is left to run out."""
        parts = [
            self._follow,
            self._renew,
            self._watch,
            self._listen,
            *([self._serve_disconnected] if self._offline else []),
        ]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._for_ever(part)) for part in parts]
            await stopping.wait()
            for task in tasks:
                task.cancel()

    async def leave(self) -> None:
        """Admit nothing more, and leave the registry, so that no host waits for this one."""
        self._left = True
        self._arena.admit_until_us = 1
        with suppress(Exception):  # it only saves others the wait for our silence
            async with asyncio.timeout(_ANSWER_S):
                await self._registry.leave(self.id)

    async def _for_ever(self, part: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await part()
            except Exception as error:
                self._failed(part.__name__.strip("_"), error)
                await asyncio.sleep(_SOON_S)

    async def _follow(self) -> None:
        """Apply what the store committed: when a hint came, and every second without one."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hint.wait(), _RENEW_S)
        self._hint.clear()
        begun = boot_us()
        known = max(self.applied, self._arena.applied)
        announced = self._announced
        async with self._store.read() as connection:
            newest = await change_seq(connection)
        if newest < known:  # numbers mean something else now
            await self.leave()
            raise ConfigurationError(
                f"The store is at change {newest}, this host at {known}: {_RESTORED}"
            )
        if newest < announced:
            raise ConfigurationError(
                f"The store is at change {newest}, the registry at {announced}: {_RESTORED}"
            )
        await self._apply(newest)
        self._caught_us = begun
        self._read_us = begun
        self._renew_now.set()

    async def _apply(self, newest: int) -> None:
        async with self._following:
            if newest > self.applied:
                self.applied = await attach.catch_up(self._arena, self._store, self._data)

    async def _serve_disconnected(self) -> None:
        """Write into the store that this host admits without Redis, then read and apply changes."""
        begun = boot_us()
        if begun - self._answered_us >= _DISCONNECTED_US and not self._left:
            await disconnected.heartbeat(self._store, self.id, self.name, self.applied)
            async with self._store.read() as connection:
                newest = await change_seq(connection)
            if newest > self.applied:
                await self._apply(newest)
                await disconnected.heartbeat(self._store, self.id, self.name, self.applied)
            if newest <= self.applied and not self._left:
                self._arena.admit_until_us = max(self._arena.admit_until_us, begun + LEASE_US)
                self.disconnected = True
        elif self.disconnected and self.lease.held(begun):
            await disconnected.reconnected(self._store, self.id)
            self.disconnected = False
        await asyncio.sleep(_RENEW_S)

    async def _renew(self) -> None:
        """Register, or renew the lease, each second and at once when a change was applied.

        A process may be waiting for this host to report that change.
        """
        sent = boot_us()
        ask = None if self._left else self.lease.ask(self._caught_us, sent, secrets.token_hex(8))
        if ask is not None and ask.what == "register" and sent - self._read_us > _BLIND_US:
            # It would get no lease, and a host that waits for a change would take it for a sign of
            # life.
            ask = None
        wait = _RENEW_S
        if ask is not None:
            call = self._registry.register if ask.what == "register" else self._registry.renew
            async with asyncio.timeout(_ANSWER_S):
                look = await call(self.id, ask.token, self.applied, self.name, self._about())
            self._answered_us = boot_us()
            if self.lease.answered(ask, look, sent, boot_us()):
                if not self._left:  # meanwhile
                    self._arena.admit_until_us = self.lease.until_us
                    self.renewed_us = sent
            else:
                wait = 0.0 if ask.what == "register" else _SOON_S
                self._hint.set()
            self._announced = look.announced
            if look.announced > self.applied:
                self._hint.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._renew_now.wait(), wait)
        self._renew_now.clear()

    async def _watch(self) -> None:
        """Evict hosts that were silent for long enough.

        A revocation then need not wait for them.
        """
        asked = boot_us()
        async with asyncio.timeout(_ANSWER_S):
            look = await self._registry.look()
            self.look = look
            self._silence.note(look, boot_us())
            for host in look.hosts:
                if host.id != self.id and self._silence.over(host, asked):
                    _log.warning("host_evicted", host=host.id, name=host.name)
                    await self._registry.evict(look, host)
            if not look.mature and self._silence.ripe(look, asked):
                await self._registry.mature(look)
        await asyncio.sleep(_WATCH_S)

    async def _listen(self) -> None:
        """Hear of changes at once. What is missed is found by ``_follow``."""
        messages = self._messages()
        try:
            await messages.subscribe(self._registry.channel)
            while True:
                found = await messages.get_message(ignore_subscribe_messages=True, timeout=_RENEW_S)
                if found is not None and int(found["data"]) > self.applied:
                    self._hint.set()
        finally:
            await messages.aclose()

    def _failed(self, part: str, error: Exception) -> None:
        cause = f"{type(error).__name__}: {error}"
        now = time.monotonic()
        before, at = self._logged.get(part, ("", 0.0))
        if cause != before or now - at > _REPEAT_S:
            self._logged[part] = (cause, now)
            expected = (
                isinstance(error, (NemoError, OSError, TimeoutError))
                or type(error).__module__ == "redis.exceptions"
            )
            _log.error(
                "membership_failed", part=part, reason=cause, exc_info=None if expected else error
            )


def boot_us() -> int:
    """Read the arena's clock in microseconds: boot time, which goes on while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
