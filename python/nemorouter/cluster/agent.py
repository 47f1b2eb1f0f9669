"""Run the host's agent: a thread with an event loop of its own, in the process that drains.

The agent holds the host's membership, its rate leases and its money leases. Each has its own task,
so that a store that does not answer never delays what is asked of Redis, nor the other way round.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Final

import msgspec

from nemorouter._core import Arena
from nemorouter.cluster.budgets.money import Money
from nemorouter.cluster.demand import listen
from nemorouter.cluster.membership.member import Membership, boot_us
from nemorouter.cluster.membership.propagation import install_id
from nemorouter.cluster.membership.registry import Registry
from nemorouter.cluster.rates.leases import Leases
from nemorouter.cluster.rates.memory import BankMemory
from nemorouter.cluster.rates.redis_bank import RedisBank
from nemorouter.cluster.rates.terms import Terms
from nemorouter.cluster.redis import connect
from nemorouter.datadir.files import replace_file
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.status import AgentStatus, boot_id
from nemorouter.log import get_logger
from nemorouter.settings import Settings
from nemorouter.store.engine import Store
from nemorouter.types import MONEY

_REPORT_S: Final = 1.0
_AGAIN_S: Final = 1.0

_log = get_logger(__name__)


class Agent:
    """``start`` it when this process drains for the host, ``stop`` it before it ceases to."""

    def __init__(self, settings: Settings, arena: Arena) -> None:
        self._settings = settings
        self._arena = arena
        self._data = DataDir(settings.data_dir)
        self._stopping = threading.Event()
        self._leave = False
        self._thread = threading.Thread(target=self._live, name="nemorouter-agent", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self, *, leave: bool = False, deadline_s: float = 5.0) -> None:
        """Stop the agent. With ``leave`` the host admits nothing more, and no host waits for it."""
        self._leave = leave
        self._stopping.set()
        self._thread.join(deadline_s)

    def _live(self) -> None:
        while not self._stopping.is_set():
            try:
                asyncio.run(self._work())
            except Exception as error:
                _log.error(
                    "agent_failed", reason=f"{type(error).__name__}: {error}", exc_info=error
                )
                self._stopping.wait(_AGAIN_S)

    async def _work(self) -> None:
        url = self._settings.redis_url or ""
        store = await Store.open(self._settings, migrate=False)
        client = connect(url)
        subscriber = connect(url, timeout_s=None)
        try:
            async with store.read() as connection:
                install = await install_id(connection)
            registry = Registry(client, install)
            member = Membership(
                self._arena,
                store,
                self._data,
                registry,
                subscriber.pubsub,
                lambda: self._about(store.host),
                offline=self._settings.offline_share > 0,
            )
            bank = RedisBank(
                client, f"nemorouter:{install}", self._terms(), share=self._settings.lease_share
            )
            memory = BankMemory(store)
            leases = Leases(self._arena, bank, memory, self._terms(), self._settings.offline_share)
            money = Money(self._arena, store)
            stopping = asyncio.Event()

            def take(index: int, resource: int, need: int) -> None:
                if resource == MONEY:
                    money.demand(index, need)
                else:
                    leases.demand(index, resource, need)

            def counters() -> dict[str, float]:
                calls = {"redis_calls": registry.calls + bank.calls}
                return leases.counters() | leases.sizes() | money.counters() | calls

            async with asyncio.TaskGroup() as group:
                group.create_task(member.run(stopping))
                group.create_task(leases.run(stopping))
                group.create_task(money.run(stopping))
                group.create_task(listen(self._arena, self._data.agent_socket, take, stopping))
                await self._report_until_the_end(member, counters)
                stopping.set()
            if self._leave:
                await member.leave()
        finally:
            await client.aclose()
            await subscriber.aclose()
            await store.close()

    def _terms(self) -> Terms:
        settings = self._settings
        return Terms(ttl=int(settings.lease_ttl * 1e6), tick=int(settings.lease_tick * 1e6))

    def _about(self, ledger: int) -> str:
        """Describe this host for the registry, as JSON. ``ledger`` is its number in the store."""
        about = {
            "ledger": ledger,
            "version": _version(),
            "workers": self._settings.workers,
            "scopes": self._arena.scopes,
            "capacity": self._arena.capacity,
        }
        return msgspec.json.encode(about).decode()

    async def _report_until_the_end(
        self, member: Membership, counters: Callable[[], dict[str, float]]
    ) -> None:
        while not self._stopping.is_set():
            look = member.look
            status = AgentStatus(
                boot=boot_id(),
                pid=os.getpid(),
                heartbeat_us=boot_us(),
                renewed_us=member.renewed_us,
                hosts=len(look.hosts) if look else 0,
                announced=look.announced if look else 0,
                applied=member.applied,
                reason=member.lease.reason,
                counters=counters(),
                delays=dict(look.delays) if look else {},
                disconnected=member.disconnected,
            )
            try:
                replace_file(self._data.agent_file, msgspec.json.encode(status))
            except OSError as error:  # a full disk: it is only shown
                _log.warning("agent_status_not_written", reason=str(error))
            await self._pause(_REPORT_S)

    async def _pause(self, seconds: float) -> None:
        """Sleep, but wake when the end is near."""
        end = boot_us() + int(seconds * 1_000_000)
        while not self._stopping.is_set() and boot_us() < end:
            await asyncio.sleep(0.05)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("nemorouter")
    except PackageNotFoundError:
        return "unknown"
