"""Build an arena from the store: policies, prices, and what was spent and admitted before.

The caller holds ``policy.lock`` and the whole of ``serve.lock``: no process admits meanwhile.
"""

import os
import time
from pathlib import Path
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter._core import Arena
from nemorouter.arena.changes import fill
from nemorouter.datadir.paths import DataDir
from nemorouter.errors import ConfigurationError
from nemorouter.settings import Settings
from nemorouter.store.engine import Store
from nemorouter.store.ledger import open_windows
from nemorouter.store.policies import change_seq
from nemorouter.store.recent import admitted_since
from nemorouter.store.schema import keys
from nemorouter.types import RATES

_PERIODS: Final = sorted({rate.period_s for rate in RATES})


async def build(
    settings: Settings, data: DataDir, store: Store, identity: bytes
) -> tuple[Arena, Path]:
    """Make the file of an arena and publish it. ConfigurationError: there is no room for it."""
    async with store.read() as connection:
        scopes = int(
            (await connection.execute(select(func.count()).select_from(keys))).scalar_one()
        )
        path = data.arena_path(settings.capacity, scopes)
        for stale in path.parent.glob(f"{path.name}.*.new"):
            stale.unlink(missing_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}.new")
        try:
            arena = Arena.create(str(draft), settings.capacity, identity)
            if settings.redis_url is not None:
                arena.clustered = True  # and fenced, until the host's agent holds a lease
            await _fill(arena, connection, data, None if settings.redis_url is None else store.host)
            arena.publish(str(path))
        except (OSError, MemoryError, ValueError) as error:
            raise ConfigurationError(
                f"There is no room for an arena at {path.parent} ({error}). "
                "Make room there, or lower "
                f"capacity (now {settings.capacity})."
            ) from error
        finally:
            draft.unlink(missing_ok=True)
    return arena, path


async def _fill(arena: Arena, connection: AsyncConnection, data: DataDir, host: int | None) -> None:
    """Write what the store knows at one instant: policies, prices and spending in open windows.

    With ``host`` only what was spent through it: the host is one of several. OSError: the file
    system has no room. What the arena itself cannot hold is set aside.
    """
    failures = await fill(arena, connection, data)
    if failures.no_room is not None:
        raise failures.no_room
    wall_ms = time.time_ns() // 1_000_000
    async for spendings in open_windows(connection, wall_ms, host):
        for kind, id, digest, spent in spendings:
            index = arena.find(kind, id, digest)
            if index is not None:
                arena.recount(index, arena.window(index, wall_ms)[0], spent, [])
    if host is None:  # else the leases, which hosts share, begin with nothing
        await _charge_past(arena, connection, wall_ms)
    arena.applied = await change_seq(connection)


async def _charge_past(arena: Arena, connection: AsyncConnection, wall_ms: int) -> None:
    """Take from the new, full buckets what their scopes admitted in the last period.

    Without it each new arena, as after a reboot, would give a whole limit a day again.
    """
    for period_s in _PERIODS:
        rates = [(place, rate) for place, rate in enumerate(RATES) if rate.period_s == period_s]
        async for scopes in admitted_since(connection, period_s, wall_ms - period_s * 1000):
            for scope in scopes:
                index = arena.find(scope.kind, scope.id, scope.digest)
                if index is None:
                    continue
                for place, rate in rates:
                    arena.charge_past(index, place, getattr(scope, rate.resource))
