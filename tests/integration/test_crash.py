"""Test a real server whose workers, then whose master, are killed under load.

Each answer is in the ledger once.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nemorouter.arena import attach
from nemorouter.datadir.paths import DataDir
from tests.support.ledger_checks import ledger_is_complete, words_are_true
from tests.support.load import Load, admits
from tests.support.servers import free_port
from tests.support.serving import Server
from tests.support.world import KEY, World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await World.make(tmp_path / "data", workers=2, port=free_port(), log_level="error")
    for id in range(KEY, KEY + 5):
        await made.key(id, cap=10**12)
    await made.price("echo", input=1_000_000, output=3_000_000)
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("kills", "seed"),
    [pytest.param(4, 1, id="short"), pytest.param(100, 2, id="long", marks=pytest.mark.campaign)],
)
async def test_workers_then_the_master_are_killed_under_load(
    world: World, kills: int, seed: int
) -> None:
    rng = random.Random(seed)
    load = Load(world)
    server = Server(world.settings)
    server.start()
    await server.ready()
    tasks = [asyncio.create_task(load.run(rng.randrange(1 << 30))) for _ in range(12)]
    for _ in range(kills):
        await asyncio.sleep(rng.random() * 0.3 + 0.1)
        server.kill_worker(rng.randrange(2))
        await server.ready()
    await asyncio.sleep(0.2)
    await asyncio.to_thread(server.kill_all)
    load.over = True
    await asyncio.gather(*tasks)
    assert load.broken > 0

    again = Server(world.settings)
    async with again:
        await admits(world)
        arena = attach.live(world.settings)
        assert arena is not None
        end = time.monotonic() + 5
        data = DataDir(world.settings.data_dir)
        while len(data.journal_paths()) > 2 or data.recount_file.exists():
            assert time.monotonic() < end, "the dead were not recovered"
            await asyncio.sleep(0.02)
    await ledger_is_complete(world, load.answered)
    await words_are_true(world, arena)
    assert DataDir(world.settings.data_dir).journal_paths() == []
    assert len(load.answered) > 10 * kills
