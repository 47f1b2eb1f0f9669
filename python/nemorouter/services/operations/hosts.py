"""List the hosts of an installation, how far each has applied changes, and remove one that is gone.

Without ``redis_url`` there is one host and nothing to list.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import func, select

from nemorouter import ids
from nemorouter.errors import ConflictError, NotFoundError, StoreError
from nemorouter.roles import Actor, require
from nemorouter.services.transaction.clock import iso
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.unit import change
from nemorouter.store.policies import change_seq
from nemorouter.store.schema import INSTALLATION, disconnected_hosts, money_leases
from nemorouter.store.schema import hosts as known_hosts

if TYPE_CHECKING:
    from nemorouter.cluster.membership.hosts import Host, RegistryView
    from nemorouter.cluster.membership.registry import Registry

_LATE_S: Final = 2.5  # a host renews every second
_LOOK_S: Final = 0.25
_PATIENCE_S: Final = 3.0

_ALONE: Final = "This installation is one host: redis_url is not set."


class HostView(msgspec.Struct, frozen=True, kw_only=True):
    """A host and its status.

    ``joining``, ``live``, ``behind`` (lacks a change), ``silent`` (its lease ends soon or has),
    ``gone``, or ``disconnected``: it cannot reach Redis, and serves its offline share.
    """

    id: str
    name: str
    status: str
    changes_behind: int | None = None
    seconds_silent: float | None = None
    last_seen: str | None = None
    version: str | None = None
    workers: int | None = None
    scopes: int | None = None
    capacity: int | None = None
    withheld_nano: int = 0  # money of budgets that it was granted and has not spent


class Delays(msgspec.Struct, frozen=True, kw_only=True):
    """The times from the announcement of changes until all hosts applied them.

    ``slowest_ms`` is a bound: ``≤ 50``.
    """

    count: int
    mean_ms: float
    slowest_ms: str


class FleetView(msgspec.Struct, frozen=True, kw_only=True):
    """All hosts, and how quickly they apply changes.

    ``settled`` False: Redis lost its data less than six seconds ago.
    """

    hosts: list[HostView]
    change: int
    settled: bool
    delays: Delays | None = None


class _About(msgspec.Struct, frozen=True):
    """Hold what a host reports of itself."""

    ledger: int = 0
    version: str | None = None
    workers: int | None = None
    scopes: int | None = None
    capacity: int | None = None


async def list_hosts(context: Context, actor: Actor) -> FleetView:
    """Every host that is registered, and those that once were and still hold money."""
    require(actor, "host.read")
    async with _registry(context) as registry:
        look = await registry.look()
    async with context.store.read() as connection:
        newest = await change_seq(connection)
        sums = func.sum(money_leases.c.granted_nano - money_leases.c.committed_nano)
        held = await connection.execute(
            select(money_leases.c.host, sums).group_by(money_leases.c.host)
        )
        withheld = {int(host): max(0, int(nano)) for host, nano in held}
        rows = (
            await connection.execute(
                select(known_hosts.c.id, known_hosts.c.name, known_hosts.c.seen_ms)
            )
        ).all()
        strays = (
            await connection.execute(
                select(
                    disconnected_hosts.c.id, disconnected_hosts.c.name, disconnected_hosts.c.applied
                )
            )
        ).all()
    registered = [_view(host, look, newest, withheld) for host in look.hosts]
    registered += [
        HostView(
            id=_text(id), name=name, status="disconnected", changes_behind=max(0, newest - applied)
        )
        for id, name, applied in strays
        if id not in {host.id for host in look.hosts}
    ]
    there = {view.id for view in registered}
    gone = [
        HostView(
            id=_text(id),
            name=name,
            status="gone",
            last_seen=iso(seen_ms),
            withheld_nano=withheld.get(id, 0),
        )
        for id, name, seen_ms in rows
        if _text(id) not in there
    ]
    return FleetView(
        hosts=sorted(registered, key=lambda view: (view.name, view.id)) + gone,
        change=newest,
        settled=look.mature,
        delays=_delays(look),
    )


async def forget(context: Context, actor: Actor, reference: str) -> str:
    """Remove a host that will not come back, and free the money it holds; return its name.

    The host is given by id or name. ConflictError: it lives. The call takes as long as a lease
    lasts, since only then is it certain that the host admits nothing.
    """
    require(actor, "host.forget")
    # Only here, so that one machine loads nothing of the cluster.
    from nemorouter.cluster.budgets import bank

    found = [
        view
        for view in (await list_hosts(context, actor)).hosts
        if reference in (view.id, view.name)
    ]
    if not found:
        raise NotFoundError(f"There is no host {reference!r}.")
    if len(found) > 1:
        raise ConflictError(
            f"Several hosts bear the name {reference!r}: {', '.join(v.id for v in found)}. "
            "Use the id."
        )
    async with _registry(context) as registry:
        await _evict(registry, found[0])
    await bank.forget(context.store, ids.from_text("host", found[0].id))
    async with change(context, actor, "host.forget") as unit:
        await unit.record("host.forgotten", found[0].id, {"name": found[0].name}, org=INSTALLATION)
    return found[0].name


async def reset(context: Context, actor: Actor) -> None:
    """Begin the registry anew, after the store was restored from a backup.

    All servers were stopped before. A server that runs joins again by itself, unless it has applied
    changes that are gone.
    """
    require(actor, "host.forget")
    async with _registry(context) as registry:
        await registry.clear()
    async with change(context, actor, "host.forget") as unit:
        await unit.record("hosts.reset", "hosts", org=INSTALLATION)


async def _evict(registry: "Registry", view: HostView) -> None:
    """Wait until the lease of every host of this data directory is over."""
    # Only here, so that one machine loads nothing of the cluster.
    from nemorouter.cluster.membership.hosts import SILENCE_US, Silence
    from nemorouter.cluster.membership.member import boot_us

    silence = Silence()
    end = time.monotonic() + SILENCE_US / 1_000_000 + _PATIENCE_S
    while time.monotonic() < end:
        asked = boot_us()
        look = await registry.look()
        silence.note(look, boot_us())
        left = [host for host in look.hosts if _id(host) == view.id]
        if not left:
            return
        for host in left:
            if silence.over(host, asked):
                await registry.evict(look, host)
        await asyncio.sleep(_LOOK_S)
    raise ConflictError(f"The host {view.name!r} lives: it renews its lease. Stop it first.")


@asynccontextmanager
async def _registry(context: Context) -> AsyncIterator["Registry"]:
    url = context.settings.redis_url
    if url is None:
        raise ConflictError(_ALONE)
    # Redis's client is an optional package.
    from redis.exceptions import RedisError

    from nemorouter.cluster.membership.propagation import open_registry

    try:
        async with open_registry(url, context.store) as registry:
            yield registry
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreError(
            f"Redis cannot be reached: {type(error).__name__}. See redis_url."
        ) from error


def _view(host: "Host", look: "RegistryView", newest: int, withheld: dict[int, int]) -> HostView:
    about = _about(host)
    silent = max(0, look.now_us - host.seen_us) / 1_000_000
    behind = max(0, newest - host.applied)
    return HostView(
        id=_id(host),
        name=host.name,
        status="joining"
        if not host.seen_us
        else "silent"
        if silent > _LATE_S
        else "behind"
        if behind
        else "live",
        changes_behind=behind,
        seconds_silent=round(silent, 1) if host.seen_us else None,
        last_seen=iso(host.seen_us // 1000) if host.seen_us else None,
        version=about.version,
        workers=about.workers,
        scopes=about.scopes,
        capacity=about.capacity,
        withheld_nano=withheld.get(about.ledger, 0),
    )


def _about(host: "Host") -> _About:
    try:
        return msgspec.json.decode(host.about, type=_About)
    except msgspec.MsgspecError:
        return _About()  # of another version


def _id(host: "Host") -> str:
    return _text(_about(host).ledger or host.id)


def _text(id: int) -> str:
    return ids.to_text("host", id)


def _delays(look: "RegistryView") -> Delays | None:
    bounds = {bound: count for bound, count in look.delays.items() if bound != "sum"}
    count = sum(bounds.values())
    if not count:
        return None
    slowest = max(bounds, key=float)
    return Delays(
        count=count,
        mean_ms=round(look.delays.get("sum", 0) / count / 1000, 1),
        slowest_ms="> 10000" if slowest == "inf" else f"≤ {slowest}",
    )
