"""A world with its arena, one worker in this process, and the drainer's desk."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nemorouter._core import Arena, Gate, Journal
from nemorouter.arena import attach
from nemorouter.datadir.paths import DataDir
from nemorouter.ledger.move import Drain
from nemorouter.store import ledger_postgres, ledger_sqlite
from nemorouter.types import Kind
from tests.support.world import KEY, World

_WORKER = """
import asyncio, os, sys, pathlib
from nemorouter.arena import attach
from nemorouter._core import Gate
from nemorouter.datadir.secrets import load_peppers
from nemorouter.settings import Settings
s = Settings.load(data_dir=pathlib.Path(sys.argv[1]), capacity=4096, journal_slots=64)
arena = asyncio.run(attach.attach(s))
journal = asyncio.run(attach.new_journal(s, ['echo']))
gate = Gate(arena, journal, load_peppers(s.pepper_path))
index = gate.identify('Bearer ' + sys.argv[2], '127.0.0.1', 0)
ended, opened = int(sys.argv[3]), int(sys.argv[4])
for _ in range(ended):
    gate.settle(gate.admit(index, 'm', 0, 0, 40, 0, 1, False), 7, 0, 0, 200, 1, 1, None)
for _ in range(opened):
    gate.admit(index, 'm', 0, 0, 40, 0, 1, False)
os._exit(9)
"""


class Desk:
    """One live worker and the drainer, step by step.

    A request reserves 10 nano-USD; ``ask`` settles it at 7.
    """

    def __init__(self, world: World, arena: Arena, journal: Journal) -> None:
        self.world = world
        self.arena = arena
        self.journal = journal
        self.gate = Gate(arena, journal, world.peppers)
        self.data = DataDir(world.settings.data_dir)
        self.index = self.gate.identify(f"Bearer {world.keys[KEY]}", "127.0.0.1", 0)
        self.drain = self.new_drain()

    def new_drain(self) -> Drain:
        """Make the drainer of a process that has just been elected."""
        return Drain(self.data, self.arena, self.world.store)

    def arena_identity(self) -> str:
        note = self.data.note()
        assert note is not None
        return note.identity

    def admit(self) -> int:
        ticket = self.gate.admit(self.index, "m", 0, 0, 40, 0, 1, False)
        assert isinstance(ticket, int), ticket.code
        return ticket

    def settle(self, ticket: int) -> None:
        assert self.gate.settle(ticket, 7, 0, 0, 200, 1, 100, None) == 7

    def ask(self, times: int = 1) -> None:
        for _ in range(times):
            self.settle(self.admit())

    def spoil(self, nano: int) -> None:
        """Make the key's money word wrong: too high, as after a death between two levels."""
        first_day = self.arena.window(self.index, time.time_ns() // 1_000_000)[0]
        assert self.arena.recount(self.index, first_day, nano, [])

    def committed(self) -> dict[Kind, int]:
        """Read the money word of every scope."""
        who = self.arena.identity(self.index)
        words = {Kind.KEY: self.arena.meters(self.index).committed}
        for kind, id in ((Kind.TEAM, who.team), (Kind.USER, who.user), (Kind.ORG, who.org)):
            index = self.arena.find(kind, id)
            assert index is not None
            words[kind] = self.arena.meters(index).committed
        return words

    async def die(self, ended: int, opened: int) -> None:
        """Another worker settles ``ended`` requests, and dies with ``opened`` more under way."""
        command = [
            sys.executable,
            "-c",
            _WORKER,
            str(self.data.root),
            self.world.keys[KEY],
            str(ended),
            str(opened),
        ]
        done = await asyncio.to_thread(subprocess.run, command, check=False, capture_output=True)
        assert done.returncode == 9, done.stderr

    async def ledger(self) -> tuple[int, int]:
        """Rows and nano-USD, which log and sums agree on."""
        log = await self.world.one("SELECT count(*), coalesce(sum(cost_nano), 0) FROM requests")
        sums = await self.world.one(
            "SELECT coalesce(sum(requests), 0), coalesce(sum(cost_nano), 0) FROM spend_daily"
        )
        assert log == sums
        return int(str(log[0])), int(str(log[1]))


def in_each_ledger(patch: pytest.MonkeyPatch, name: str, value: object) -> None:
    """Put ``value`` in the place of what both kinds of store call ``name``."""
    for module in (ledger_sqlite, ledger_postgres):
        patch.setattr(module, name, value)


def everywhere(nano: int) -> dict[Kind, int]:
    """Return one amount committed at every level."""
    return dict.fromkeys((Kind.KEY, Kind.TEAM, Kind.USER, Kind.ORG), nano)


@pytest.fixture
async def desk(any_store: str, tmp_path: Path) -> AsyncIterator[Desk]:
    world = await World.make(tmp_path / "data", journal_slots=64)
    await world.key(cap=10**9)
    await world.price("m", input=1_000_000, output=0)
    arena = await attach.attach(world.settings, world.store)
    journal = await attach.new_journal(world.settings, ["echo"])
    yield Desk(world, arena, journal)
    await world.close()
