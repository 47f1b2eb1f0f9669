"""The task that carries leases: it lends nothing before the store knows the bank's first epochs."""

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

from nemorouter.cluster.rates.leases import Leases
from nemorouter.cluster.rates.memory import BankMemory
from nemorouter.cluster.rates.redis_bank import RedisBank
from nemorouter.cluster.rates.terms import Terms
from nemorouter.cluster.redis import connect
from nemorouter.settings import Settings
from nemorouter.store.engine import Store
from nemorouter.types import RATES
from tests.support.leases.host import create
from tests.support.leases.worker import Plan
from tests.support.redis_server import RedisServer

RPM = next(place for place, rate in enumerate(RATES) if rate.name == "rpm")
KEY = 2
"""Index of the key in the arena that ``create`` makes: behind its org and team."""


async def rename(store: Store, old: str, new: str) -> None:
    async with store.begin() as connection:
        await connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")


async def test_a_store_that_is_away_at_the_start_costs_neither_tokens_nor_time(
    tmp_path: Path,
) -> None:
    arena = create(Plan(folder=str(tmp_path), url="", limit=60))
    store = await Store.open(Settings(data_dir=tmp_path / "data"), migrate=True)
    turns = 0

    class Counted(Leases):
        """Count the turns of the task."""

        def _turn(self) -> None:
            nonlocal turns
            turns += 1
            super()._turn()

    with RedisServer(tmp_path / "redis") as redis:
        client: Any = connect(redis.url)
        bank = RedisBank(client, "nemo", Terms())
        leases = Counted(arena, bank, BankMemory(store), Terms())
        stopping = asyncio.Event()
        await rename(store, "meta", "elsewhere")
        running = asyncio.create_task(leases.run(stopping))
        leases.demand(KEY, RPM, 1)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(running), 1.5)
        assert turns < 100, "a task that has nothing to do sleeps"
        assert arena.lease(KEY, RPM).granted == 0
        await rename(store, "elsewhere", "meta")
        end = time.monotonic() + 20
        while arena.lease(KEY, RPM).granted == 0:
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        stopping.set()
        await running
        await client.aclose()
    await store.close()
