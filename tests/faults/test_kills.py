"""Test SIGKILL of workers and drainers at any instant.

What was acknowledged is in the ledger once, and words are true.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import nemorouter
from nemorouter.arena import attach
from nemorouter.datadir.paths import DataDir
from nemorouter.ledger.move import Drain
from nemorouter.types import Kind
from tests.support.ledger_checks import ledger_is_complete, words_are_true
from tests.support.serving import holder
from tests.support.world import KEY, ORG, World

WORKERS = 3
KEYS = range(KEY, KEY + 6)
DRAINER = (
    "import sys, pathlib\nfrom nemorouter.drainer.thread import Drainer\n"
    "from nemorouter.settings import Settings\n"
    "Drainer(Settings.load(data_dir=pathlib.Path(sys.argv[1]), capacity=4096)).start()\n"
    "sys.stdin.read()\n"
)
_ENV = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(Path(nemorouter.__file__).parents[1]), str(Path.cwd())])
}

Process = subprocess.Popen[bytes]


def start(*arguments: str) -> Process:
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=_ENV,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


class Farm:
    """Workers and drainers that are killed and replaced."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world = world
        self.rng = rng
        self.told = world.settings.data_dir.parent / "acknowledged"
        self.workers = [self.worker() for _ in range(WORKERS)]
        self.drainers = [self.drainer() for _ in range(2)]

    def worker(self) -> Process:
        keys = [self.world.keys[id] for id in KEYS]
        seed = str(self.rng.random())
        return start(
            "-m",
            "tests.support.settling_worker",
            str(self.world.settings.data_dir),
            str(self.told),
            seed,
            *keys,
        )

    def drainer(self) -> Process:
        return start("-c", DRAINER, str(self.world.settings.data_dir))

    def kill_one(self) -> None:
        """Kill a worker, or the process that drains, at a random instant of its work."""
        if self.rng.random() < 0.5:
            which = self.rng.randrange(WORKERS)
            output = self.workers[which].stdout
            assert output is not None
            output.readline()
            time.sleep(self.rng.random() * 0.02)
            end(self.workers[which])
            self.workers[which] = self.worker()
        else:
            while (pid := holder(self.world.settings.data_dir / "drainer.lock")) is None:
                time.sleep(0.01)
            time.sleep(self.rng.random() * 0.8)  # it opens the store and the arena first
            which = [process.pid for process in self.drainers].index(pid)
            end(self.drainers[which])
            self.drainers[which] = self.drainer()

    def kill_all(self) -> None:
        for process in (*self.workers, *self.drainers):
            end(process)

    def acknowledged(self) -> dict[tuple[int, int], int]:
        found: dict[tuple[int, int], int] = {}
        for line in self.told.read_text().splitlines():
            journal_id, seq, cost = line.split()
            assert (int(journal_id, 16), int(seq, 16)) not in found, "a ticket was settled twice"
            found[int(journal_id, 16), int(seq, 16)] = int(cost)
        return found


def end(process: Process) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await World.make(tmp_path / "data")
    for id in KEYS:
        await made.key(id, cap=10**6 if id % 2 else None)
    await made.scope(Kind.ORG, ORG, cap=10**12)
    await made.price("m", input=1_000_000, output=0)
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("kills", "seed"),
    [
        pytest.param(8, 1, id="short"),
        *(
            pytest.param(100, seed, id=f"long-{seed}", marks=pytest.mark.campaign)
            for seed in range(10)
        ),
    ],
)
async def test_workers_and_drainers_are_killed(world: World, kills: int, seed: int) -> None:
    arena = await attach.attach(world.settings, world.store)
    farm = Farm(world, random.Random(seed))
    try:
        worst = 0
        for _ in range(kills):
            await asyncio.to_thread(farm.kill_one)
            worst = max(worst, *(arena.meters(index).committed for index in range(arena.scopes)))
    finally:
        farm.kill_all()
    drain = Drain(DataDir(world.settings.data_dir), arena, world.store)
    while await drain.turn():
        pass
    await drain.turn()
    acknowledged = farm.acknowledged()
    assert len(acknowledged) > kills
    await ledger_is_complete(world, acknowledged)
    await words_are_true(world, arena)
    assert DataDir(world.settings.data_dir).journal_paths() == []
    capped = await world.all(
        "SELECT key_id, sum(cost_nano) FROM requests WHERE key_id % 2 = 1 GROUP BY key_id"
    )
    assert all(int(str(spent)) <= 10**6 for _, spent in capped)
