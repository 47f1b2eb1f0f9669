"""Call the registry of hosts in Redis: one script a call, which returns the registry after it.

This module decides nothing; ``hosts`` does.
"""

import hashlib
import secrets
from importlib import resources
from typing import Any, Final

import msgspec

from nemorouter.cluster.membership.hosts import Host, RegistryView
from nemorouter.cluster.redis import run_script
from nemorouter.errors import ConfigurationError

_SCRIPT: Final = (resources.files("nemorouter.cluster") / "lua" / "hosts.lua").read_text("utf-8")
_SHA: Final = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
DELAY_BOUNDS_MS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
"""Upper ends of the histogram of how long changes took; what is longer counts as ``inf``."""


class _Entry(msgspec.Struct):
    """The packed field of one host."""

    applied: float
    n: float
    fence: float
    seen: float = 0
    name: str = ""
    about: str = ""


class Registry:
    """The registry of one installation (``install``: the id that its store drew once)."""

    def __init__(self, client: Any, install: str) -> None:  # noqa: ANN401 - redis-py types its commands poorly
        self._client = client
        self._key = f"nemorouter:{{hosts:{install}}}"
        self.channel = f"nemorouter:changes:{install}"
        self.calls = 0

    async def register(
        self, id: int, token: str, applied: int, name: str, about: str = ""
    ) -> RegistryView:
        """List the host from now on; the verdict is ``registered``, and the view lists no host."""
        return await self._run("register", id, token, applied, name, about)

    async def renew(
        self, id: int, token: str, applied: int, name: str, about: str = ""
    ) -> RegistryView:
        """Ask for a lease.

        The verdict is ``granted``, ``behind`` (a change is missing) or ``unknown``.
        """
        return await self._run("renew", id, token, applied, name, about)

    async def announce(self, sequence: int, *fence: int, loud: bool = False) -> RegistryView:
        """Announce a change; refuse renewals without it to the hosts of ``fence``.

        With ``loud`` the change is published to all subscribers.
        """
        return await self._run("announce", sequence, int(loud), *fence)

    async def look(self) -> RegistryView:
        """Read the registry without changing it."""
        return await self.announce(0)

    async def evict(self, look: RegistryView, host: Host) -> RegistryView:
        """Evict a host whose lease is over, unless it was renewed since ``look``."""
        return await self._run("evict", look.epoch, host.id, host.renewals)

    async def mature(self, look: RegistryView) -> RegistryView:
        """Record that every lease from before this epoch is over."""
        return await self._run("mature", look.epoch)

    async def leave(self, id: int) -> RegistryView:
        """Remove a host that admits nothing any more."""
        return await self._run("leave", id)

    async def done(self, micros: int) -> RegistryView:
        """Note how long a change took until all applied it."""
        bound = next((str(bound) for bound in DELAY_BOUNDS_MS if micros <= bound * 1000), "inf")
        return await self._run("done", bound, micros)

    async def clear(self) -> None:
        """Forget everything: a new epoch begins. Hosts that live come back by themselves."""
        await self._client.delete(self._key)

    async def _run(self, *arguments: str | int) -> RegistryView:
        given = (1, self._key, self.channel, secrets.token_hex(8), *arguments)
        self.calls += 1
        return _look(await run_script(self._client, _SHA, _SCRIPT, *given))


def _look(found: list[Any]) -> RegistryView:
    verdict, epoch, mature, announced, now_us, hosts, delays = found
    return RegistryView(
        verdict.decode(),
        epoch.decode(),
        bool(mature),
        int(announced),
        int(now_us),
        tuple(sorted(_host(int(id), packed) for id, packed in hosts)),
        {bound.decode(): int(value) for bound, value in delays},
    )


def _host(id: int, packed: bytes) -> Host:
    try:
        entry = msgspec.msgpack.decode(packed, type=_Entry)
    except msgspec.MsgspecError as error:
        raise ConfigurationError(
            "The registry of hosts in Redis is not ours, or of another version."
        ) from error
    return Host(
        id,
        entry.name,
        int(entry.applied),
        int(entry.n),
        int(entry.fence),
        int(entry.seen),
        entry.about,
    )
