"""Define the two clocks of a decision: boot time for rates, wall time for windows and expiry.

No other module reads a clock.
"""

import time


class SystemClock:
    """The machine's clocks."""

    __slots__ = ()

    def read(self) -> tuple[int, int]:
        """Return the boot clock in µs, which runs on during suspend, and the Unix time in ms."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000, time.time_ns() // 1_000_000


class ManualClock:
    """A clock that stands still until it is moved. Tests only."""

    __slots__ = ("_boot_us", "_wall_us")

    def __init__(self, boot_us: int = 1_000_000, wall_ms: int = 1_767_225_600_000) -> None:
        self._boot_us = boot_us
        self._wall_us = wall_ms * 1_000

    def read(self) -> tuple[int, int]:
        """Boot clock in microseconds, wall clock in Unix milliseconds."""
        return self._boot_us, self._wall_us // 1_000

    def advance(self, us: int) -> None:
        """Move both clocks forward by ``us``."""
        self._boot_us += us
        self._wall_us += us

    def set_wall(self, wall_ms: int) -> None:
        """Step the wall clock (also backwards); the boot clock stays."""
        self._wall_us = wall_ms * 1_000


Clock = SystemClock | ManualClock
