"""Notes that the processes of a host leave for each other in the data directory, and the boot that
they are of.
"""

from pathlib import Path
from typing import Final

import msgspec

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class ArenaNote(msgspec.Struct, frozen=True):
    """Where the arena of this machine boot lies, and its identity: how a command line finds a
    running server's.
    """

    boot: str
    path: str
    identity: str  # 64 hex
    host: int  # random, 63 bits: who this host is among several; as old as the arena
    install: str = ""  # of the store


class DrainerStatus(msgspec.Struct, frozen=True):
    """What the process that drains tells the others. Times are Unix milliseconds."""

    boot: str
    pid: int
    beat_ms: int  # last tick that went well
    commit_ms: int  # last transaction that held rows; 0 = none yet
    rows: int  # moved by this process since it began to drain
    applied: int  # change sequence that its arena has seen
    error: str = ""  # why the last tick failed; empty = it did not


class AgentStatus(msgspec.Struct, frozen=True):
    """What the process that speaks for this host among others tells. Times are of the boot clock,
    microseconds.
    """

    boot: str
    pid: int
    beat_us: int
    renewed_us: int  # when the newest renewal was granted; 0 = none yet
    hosts: int  # how many are registered
    announced: int  # newest change that somebody waited for
    obeyed: int  # changes up to here are obeyed by this host
    reason: str = ""  # why it has no lease, if so
    adrift: bool = False  # without Redis: it serves a safe share of the limits
    counters: dict[str, float] = {}
    delays: dict[
        str, int
    ] = {}  # how long changes took until all hosts obeyed: upper ends in ms, and ``sum`` in µs


def boot_id() -> str:
    """The kernel's name for this boot of the machine; mapped memory and boot clocks are of one boot
    only.
    """
    return _BOOT_ID.read_text("ascii").strip()
