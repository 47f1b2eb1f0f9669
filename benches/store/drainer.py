"""Measure the drainer's CPU time for a row of the request log in SQLite, part by part.

python -m benches.store.drainer [--turns 100]

It runs whole cycles of the drainer with a pause before each, as ``serve`` does. The fixed cost of a
cycle shows where a cycle has few rows.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nemorouter import log
from nemorouter._core import Gate
from nemorouter.arena import attach
from nemorouter.datadir.paths import DataDir
from nemorouter.ledger.move import Drain
from nemorouter.store import ledger_sqlite
from tests.support.world import KEY, World

SHAPES = ((1, 22), (1, 800), (100, 800), (5_000, 800))
"""Pairs of keys, and rows of a cycle: 22 rows come at 500 requests a second, 800 at 17,000."""
PAUSE_S = 0.04


class Parts:
    """The CPU time of this thread in nanoseconds, by the name of what it did."""

    def __init__(self) -> None:
        self.spent: dict[str, int] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the CPU time of the context's body to ``name``."""
        before = time.thread_time_ns()
        try:
            yield
        finally:
            self.spent[name] = self.spent.get(name, 0) + time.thread_time_ns() - before

    def wrapped(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that does ``work`` and adds its CPU time to ``name``."""

        def timed(*given: Any) -> Any:
            with self.part(name):
                return work(*given)

        return timed


async def turns(keys: int, rows: int, count: int) -> None:
    """Run ``count`` cycles of ``rows`` rows of ``keys`` keys, and print their cost on a line."""
    with tempfile.TemporaryDirectory() as folder:
        world = await World.make(Path(folder) / "data", capacity=keys + 100, journal_slots=8192)
        for number in range(keys):
            await world.key(KEY + number)
        await world.price("m", input=1_000_000, output=1_000_000)
        arena = await attach.attach(world.settings, world.store)
        journal = await attach.new_journal(world.settings, ["echo"])
        ask = _asker(world, Gate(arena, journal, world.peppers))
        drain = Drain(DataDir(world.settings.data_dir), arena, world.store)
        parts = Parts()
        await drain.turn()
        ledger: Any = ledger_sqlite
        log_rows = ledger._log
        sums = ledger.sums
        ledger._log = parts.wrapped("log", log_rows)
        ledger.sums = parts.wrapped("sums", sums)
        for _ in range(count):
            for _ in range(rows):
                ask()
            time.sleep(PAUSE_S)
            with parts.part("rows"):
                journal.rows(rows)
            with parts.part("turn"):
                assert await drain.turn() == rows
        ledger._log = log_rows
        ledger.sums = sums
        await world.close()
    each = {name: spent / count / rows / 1000 for name, spent in parts.spent.items()}
    listed = ", ".join(f"{name} {each[name]:.2f}" for name in ("rows", "log", "sums"))
    print(
        f"{keys:5} keys, {rows:4} rows a cycle: {each['turn']:6.2f} µs a row, of it {listed}",
        flush=True,
    )


def _asker(world: World, gate: Gate) -> Callable[[], None]:
    """Return a function that admits and settles a request of a random key of ``world``."""
    headers = [f"Bearer {key}" for key in world.keys.values()]
    draw = random.Random(3)

    def ask() -> None:
        index = gate.identify(draw.choice(headers), "127.0.0.1", 0)
        ticket = gate.admit(index, "m", 0, 0, 2_000, 100, 1, False)
        assert isinstance(ticket, int)
        gate.settle(ticket, 480, 0, 60, 200, 1, draw.randrange(1_000_000), 80_000)

    return ask


async def main() -> None:
    """Measure with the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=100)
    given = parser.parse_args()
    log.configure("error")
    for keys, rows in SHAPES:
        await turns(keys, rows, given.turns)


if __name__ == "__main__":
    asyncio.run(main())
