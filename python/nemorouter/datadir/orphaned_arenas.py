"""Remove arenas in shared memory whose data directory is gone, which else stay until a reboot.

An arena that a process uses, or whose data directory is unknown, is never removed.
"""

from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from nemorouter.datadir.locks import Flock
from nemorouter.datadir.paths import arenas_in_memory
from nemorouter.log import get_logger

_HOME: Final = ".home"

_log = get_logger(__name__)


class Orphan(NamedTuple):
    """An arena that nobody uses; ``home`` is where its data directory was, if that is known."""

    path: Path
    home: Path | None
    bytes: int


def label(arena: Path, root: Path) -> None:
    """Note beside an arena in shared memory which data directory it belongs to.

    The caller holds ``policy_lock`` and has not used the arena yet.
    """
    if arena.parent == root:
        return  # it goes with the directory
    link = arena.with_suffix(_HOME)
    link.unlink(missing_ok=True)
    link.symlink_to(root.resolve())


def home_of(arena: Path) -> Path | None:
    """Return the data directory that an arena was made for, or None if that was not noted."""
    link = arena.with_suffix(_HOME)
    return link.readlink() if link.is_symlink() else None


def remove(arena: Path) -> None:
    """Take an arena away, and what was noted of it."""
    arena.unlink(missing_ok=True)
    arena.with_suffix(_HOME).unlink(missing_ok=True)


def find() -> list[Orphan]:
    """Find this user's arenas that no process holds and whose data directory is gone or unknown."""
    found = []
    for path in arenas_in_memory():
        with suppress(OSError):
            home = home_of(path)
            if (home is None or not home.exists()) and (lock := Flock.attempt(path)) is not None:
                lock.release()
                found.append(Orphan(path, home, path.stat().st_blocks * 512))
    return found


def sweep() -> None:
    """Remove the orphans whose home is known to be gone."""
    for path, home, size in find():
        if home is not None and (lock := Flock.attempt(path)) is not None:
            with lock:
                remove(path)
            _log.info("orphaned_arena_removed", path=str(path), of=str(home), mib=size >> 20)
