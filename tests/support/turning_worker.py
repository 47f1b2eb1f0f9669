"""Serve the gateway as an app whose calendar a test moves.

``TURNING_CLOCK`` names a file that holds Unix milliseconds. For any server, with any number of
workers. The clock of the buckets runs on as it is.
"""

import os
import threading
import time
from pathlib import Path

from nemorouter import app as composition
from nemorouter._core import Arena, Gate, Journal, ManualClock
from nemorouter.settings import Settings

_TICK_S = 0.001


def _boot_us() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def _follow(clock: ManualClock, file: Path, last: int) -> None:
    while True:
        now = _boot_us()
        clock.advance(now - last)
        clock.set_wall(int(file.read_text()))
        last = now
        time.sleep(_TICK_S)


def _gate(arena: Arena, journal: Journal, peppers: list[tuple[int, bytes]]) -> Gate:
    file = Path(os.environ["TURNING_CLOCK"])
    now = _boot_us()
    clock = ManualClock(now, int(file.read_text()))
    threading.Thread(target=_follow, args=(clock, file, now), daemon=True).start()
    return Gate(arena, journal, peppers, clock)


setattr(composition, "Gate", _gate)  # noqa: B010 - the one place where a worker makes its gate
app = composition.App(Settings.load())
