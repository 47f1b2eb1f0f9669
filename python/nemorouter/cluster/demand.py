"""Take demand for leases out of the arena and pass it to the tasks that ask for more.

A worker wakes this task by its bell.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from nemorouter._core import Arena
from nemorouter.cluster.wake import open_listener, silence

_POLL_S: Final = 0.1  # a ring may be lost
_MANY: Final = 256

Take = Callable[[int, int, int], None]
"""Scope index, resource, and the units that did not fit (0: low water)."""


async def listen(arena: Arena, path: Path, take: Take, stopping: asyncio.Event) -> None:
    """Pass demand to ``take`` until ``stopping``.

    The caller holds ``drainer.lock``: one agent listens at ``path``.
    """
    rung = asyncio.Event()
    loop = asyncio.get_running_loop()
    listener = open_listener(path)
    loop.add_reader(listener, rung.set)
    try:
        while not stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(rung.wait(), _POLL_S)
            silence(listener)
            rung.clear()
            while demands := arena.take_demand(_MANY):
                for demand in demands:
                    take(*demand)
            await asyncio.sleep(0)
    finally:
        loop.remove_reader(listener)
        listener.close()
        path.unlink(missing_ok=True)
