"""File locks, by which the processes of a data directory agree."""

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self
from weakref import WeakSet

from nemorouter.datadir.files import explained
from nemorouter.datadir.holders import holders, named
from nemorouter.errors import ConfigurationError


class Flock:
    """An advisory lock on a file, held until ``release`` or the death of the process.

    No child process inherits it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        _held.add(self)

    @property
    def held(self) -> bool:
        """False after ``release``, and in a child of ``fork``."""
        return self._descriptor >= 0

    @classmethod
    def attempt(cls, path: Path, *, shared: bool = False) -> Self | None:
        """Take the lock now; return None if it is held.

        Another open of the same file holds it too, also in this process.
        """
        with explained(path.parent):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            raise ConfigurationError(
                f"{path} cannot be locked: {error.strerror}. Use a local disk."
            ) from error
        return cls(descriptor)

    def release(self) -> None:
        """Give the lock back. A second call does nothing."""
        descriptor = self._descriptor
        self._descriptor = -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


async def take(path: Path, *, shared: bool = False, deadline_s: float = 30.0) -> Flock:
    """Wait for the lock at ``path``; ConfigurationError if it is not free within ``deadline_s``.

    The wait is in the event loop, so that a holder in the same loop can go on.
    """
    end = time.monotonic() + deadline_s
    pause = 0.0005
    while (lock := Flock.attempt(path, shared=shared)) is None:
        if time.monotonic() > end:
            raise ConfigurationError(
                f"{named(holders(path))} holds {path} for more than {deadline_s:.0f} s. "
                "Is it stopped?"
            )
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.02)
    return lock


@asynccontextmanager
async def locked(path: Path, *, deadline_s: float = 30.0) -> AsyncIterator[Flock]:
    """Hold the lock at ``path`` for a block; see ``take``."""
    with await take(path, deadline_s=deadline_s) as lock:
        yield lock


_held: WeakSet[Flock] = WeakSet()


def _forget() -> None:
    """In a child: close the copies, or a lock would outlive the process that took it."""
    for lock in tuple(_held):
        lock.release()


os.register_at_fork(after_in_child=_forget)
