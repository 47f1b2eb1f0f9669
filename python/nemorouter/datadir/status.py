"""Define the notes that the processes of a host leave for each other in the data directory.

A note is of one boot of the machine.
"""

import time
from pathlib import Path
from typing import Final

import msgspec

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class ArenaNote(msgspec.Struct, frozen=True):
    """The path and identity of the arena of this machine boot.

    A command line finds a running server's arena by it.
    """

    boot: str
    path: str
    identity: str  # 64 hex
    arena_epoch: int  # random, 63 bits, drawn with the arena: the host's key in the registry
    install: str = ""  # of the store


_SILENT_S: Final = 10.0
"""A drainer that says nothing for so long is gone, or hangs: it says each second that it lives."""
_STUCK_S: Final = 60.0
"""A turn that takes so long hangs: a statement without an answer is given up after half of it, and
then the drainer tells an error.
"""


class DrainerStatus(msgspec.Struct, frozen=True):
    """The drainer's report of itself. Times are Unix milliseconds, but for ``reported_us``."""

    boot: str
    pid: int
    reported_us: int  # when, by ``time.monotonic``; each second while the process lives
    turn_s: float  # how long it had then been since the last turn that went well
    heartbeat_ms: int  # last turn that went well; 0 = none yet
    commit_ms: int  # last transaction that held rows; 0 = none yet
    rows: int  # moved by this process since it began to drain
    applied: int  # change sequence that its arena has seen
    error: str = ""  # why the last turn failed; empty = it did not

    def silent_s(self) -> float:
        """Return the seconds since the process last reported that it lives."""
        return time.monotonic() - self.reported_us / 1_000_000

    def drains(self) -> bool:
        """Return whether the process moves rows, or tries to, as one that waits for the store does.

        False: the process is gone, stopped or hangs.
        """
        return self.silent_s() <= _SILENT_S and (bool(self.error) or self.turn_s <= _STUCK_S)


class AgentStatus(msgspec.Struct, frozen=True):
    """The agent's report of itself and its cluster. Times are microseconds of the boot clock."""

    boot: str
    pid: int
    heartbeat_us: int
    renewed_us: int  # when the newest renewal was granted; 0 = none yet
    hosts: int  # how many are registered
    announced: int  # newest change that the registry announced
    applied: int  # changes up to here are applied by this host
    reason: str = ""  # why it has no lease, if so
    disconnected: bool = False  # without Redis: it serves an offline share of the limits
    counters: dict[str, float] = {}
    delays: dict[
        str, int
    ] = {}  # how long changes took until all hosts applied: upper ends in ms, and ``sum`` in µs


def boot_id() -> str:
    """Return the kernel's name for this boot of the machine.

    Mapped memory and boot clocks are of one boot only.
    """
    return _BOOT_ID.read_text("ascii").strip()
