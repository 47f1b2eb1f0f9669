"""Find the processes that hold a file lock, as the kernel lists them.

A lock is held until its process ends, so an error about one must name the process.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

_LOCKS = Path("/proc/locks")
_ANONYMOUS = 0  # major number of the devices of btrfs, overlayfs and the like: two names for one
_LONGEST = 120


class Process(NamedTuple):
    """A live process: its number, its parent's, its name and its command line."""

    pid: int
    parent: int
    name: str
    command: str

    @classmethod
    def look(cls, pid: int) -> Self | None:
        """Look at the process ``pid``; None if it has ended."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return None
        name, _, rest = stat.partition("(")[2].rpartition(")")
        state, parent = rest.split()[:2]
        if state in "ZX":
            return None
        command = " ".join(arguments.decode("utf-8", "replace").split("\0")).strip()
        return cls(pid, int(parent), name, command)

    def __str__(self) -> str:
        cut = self.command if len(self.command) <= _LONGEST else self.command[:_LONGEST] + "…"
        return f"process {self.pid} ({self.name}: {cut})"


def holders(path: Path) -> list[Process]:
    """List the processes that hold a lock of the file at ``path``.

    Processes of another container cannot be seen.
    """
    numbers: set[int] = set()
    with suppress(OSError):
        found = path.stat()
        device = (os.major(found.st_dev), os.minor(found.st_dev))
        for line in _LOCKS.read_text().splitlines():
            fields = line.split()
            if fields[1] != "FLOCK":  # another kind, or a process that waits
                continue
            major, minor, inode = fields[5].split(":")
            place = (int(major, 16), int(minor, 16))
            same = place == device or _ANONYMOUS in (place[0], device[0])
            if int(inode) == found.st_ino and same:
                numbers.add(int(fields[4]))
    looks = (Process.look(pid) for pid in sorted(numbers))
    return [process for process in looks if process is not None]


def named(found: Sequence[Process]) -> str:
    """Name the holders of a lock, to begin an error message."""
    if not found:
        return "A process that cannot be seen from here"
    text = ", ".join(map(str, found))
    return text[0].upper() + text[1:]
