"""Hosts without Redis that go on with an offline share of the limits (``offline_share``): a second
registry, in the store.

Such a host admits for ``LEASE_US`` after it began to read the store, and writes that it does so
before it reads. So who committed a change finds it here, or it finds the change. It must never
lengthen a lease by a reading that failed.
"""

from typing import Any, Final

from sqlalchemy import delete, select, text

from nemorouter.cluster.membership.hosts import Host, RegistryView
from nemorouter.store.engine import Store
from nemorouter.store.schema import disconnected_hosts

_HEARTBEAT: Final = text(
    "INSERT INTO disconnected_hosts (id, name, applied, heartbeats) "
    "VALUES (:id, :name, :applied, 1) "
    "ON CONFLICT (id) DO UPDATE SET name = excluded.name, applied = excluded.applied, "
    "heartbeats = disconnected_hosts.heartbeats + 1"
)


async def heartbeat(store: Store, id: int, name: str, applied: int) -> None:
    """This host admits without Redis, and applies all changes up to ``applied``."""
    async with store.write_shared() as connection:
        await connection.execute(_HEARTBEAT, {"id": id, "name": name, "applied": applied})


async def look(store: Store) -> RegistryView:
    """All such hosts, as the registry in Redis would tell of them."""
    async with store.read() as connection:
        rows: list[Any] = list(
            await connection.execute(select(disconnected_hosts).order_by(disconnected_hosts.c.id))
        )
    hosts = tuple(
        Host(row.id, row.name, row.applied, row.heartbeats, fence=1 << 62, seen_us=0)
        for row in rows
    )
    return RegistryView("", "store", True, 1 << 62, 0, hosts)


async def evict(store: Store, host: Host) -> None:
    """Its lease is over, unless it was heard of since."""
    gone = delete(disconnected_hosts).where(
        disconnected_hosts.c.id == host.id, disconnected_hosts.c.heartbeats == host.renewals
    )
    async with store.write_shared() as connection:
        await connection.execute(gone)


async def reconnected(store: Store, id: int) -> None:
    """It has Redis again, and is registered there."""
    async with store.write_shared() as connection:
        await connection.execute(delete(disconnected_hosts).where(disconnected_hosts.c.id == id))
