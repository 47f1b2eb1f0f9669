"""List, in the store, the hosts that serve their offline share while they cannot reach Redis.

Such a host admits for ``LEASE_US`` after it began to read the store, and writes its heartbeat
before it reads. A process that committed a change therefore finds the host here, or the host finds
the change. A reading that failed never lengthens a lease.
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
    """Write that this host admits without Redis and has applied all changes up to ``applied``."""
    async with store.write_shared() as connection:
        await connection.execute(_HEARTBEAT, {"id": id, "name": name, "applied": applied})


async def look(store: Store) -> RegistryView:
    """Return all such hosts, in the form of the registry in Redis."""
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
    """Remove a host whose lease is over, unless it wrote a heartbeat since."""
    gone = delete(disconnected_hosts).where(
        disconnected_hosts.c.id == host.id, disconnected_hosts.c.heartbeats == host.renewals
    )
    async with store.write_shared() as connection:
        await connection.execute(gone)


async def reconnected(store: Store, id: int) -> None:
    """Remove this host, which is registered in Redis again."""
    async with store.write_shared() as connection:
        await connection.execute(delete(disconnected_hosts).where(disconnected_hosts.c.id == id))
