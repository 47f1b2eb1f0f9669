"""Hosts without Redis that go on with a safe share of the limits (``safe_share``): a second
registry, in the store.

Such a host admits for ``LEASE_US`` after it began to read the store, and writes that it does so
before it reads. So who committed a change finds it here, or it finds the change. It must never
lengthen a lease by a reading that failed.
"""

from typing import Any, Final

from sqlalchemy import delete, select, text

from nemorouter.cluster.membership.hosts import Host, RegistryView
from nemorouter.store.engine import Store
from nemorouter.store.schema import adrift

_BEAT: Final = text(
    "INSERT INTO adrift (id, name, applied, beats) VALUES (:id, :name, :applied, 1) "
    "ON CONFLICT (id) DO UPDATE SET name = excluded.name, applied = excluded.applied, "
    "beats = adrift.beats + 1"
)


async def beat(store: Store, id: int, name: str, applied: int) -> None:
    """This host admits without Redis, and obeys all changes up to ``applied``."""
    async with store.write_shared() as connection:
        await connection.execute(_BEAT, {"id": id, "name": name, "applied": applied})


async def look(store: Store) -> RegistryView:
    """All such hosts, as the registry in Redis would tell of them."""
    async with store.read() as connection:
        rows: list[Any] = list(await connection.execute(select(adrift).order_by(adrift.c.id)))
    hosts = tuple(
        Host(row.id, row.name, row.applied, row.beats, fence=1 << 62, seen_us=0) for row in rows
    )
    return RegistryView("", "store", True, 1 << 62, 0, hosts)


async def strike(store: Store, host: Host) -> None:
    """Its lease is over, unless it was heard of since."""
    gone = delete(adrift).where(adrift.c.id == host.id, adrift.c.beats == host.renewals)
    async with store.write_shared() as connection:
        await connection.execute(gone)


async def ashore(store: Store, id: int) -> None:
    """It has Redis again, and is registered there."""
    async with store.write_shared() as connection:
        await connection.execute(delete(adrift).where(adrift.c.id == id))
