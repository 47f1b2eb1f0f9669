"""Set money words to ledger + slots, and remember which words wait for it.

The drainer alone runs this. What waits is on disk before the slots that name it are freed, so that
a drainer that dies forgets none.
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

import msgspec

from nemorouter._core import Arena, Journal
from nemorouter.datadir.files import replace_file
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.status import ArenaNote
from nemorouter.store.engine import Store
from nemorouter.store.ledger import window_spend


class Waiting(msgspec.Struct):
    """Scope indices of one arena that wait for their recount; ``unsure``: there may be others."""

    identity: str
    indices: list[int]
    unsure: bool = False


class Recounts:
    """The scopes that wait, kept in ``<data dir>/recount``."""

    def __init__(self, data: DataDir, arena: Arena, note: ArenaNote) -> None:
        self._data = data
        self._arena = arena
        self._identity = note.identity
        self._unsure = False
        self.waiting: set[int] = set()
        with suppress(OSError, msgspec.MsgspecError):
            kept = msgspec.json.decode(data.recount_file.read_bytes(), type=Waiting)
            if kept.identity == note.identity:  # a new arena was counted when it was made
                self.waiting.update(self.real(kept.indices))
                if kept.unsure:
                    self.waiting.update(i for i in range(arena.scopes) if _may_be_wrong(arena, i))

    def recover(self, journal: Journal) -> None:
        """End the tickets of a dead worker; the words that they name wait for a recount.

        If the drainer dies within this call, the next one recounts all.
        """
        self._unsure = True
        self._keep()
        self.waiting.update(self.real([*journal.recover(), *journal.deferred()]))
        journal.finish_deferred()
        self._unsure = False
        self._keep()

    def add(self, indices: Iterable[int]) -> None:
        """Remember words to be recounted, also if this process dies."""
        fresh = self.real(indices) - self.waiting
        if fresh:
            self.waiting |= fresh
            self._keep()

    def done(self, indices: Iterable[int]) -> None:
        """Forget words that were recounted."""
        if not self.waiting.isdisjoint(indices):
            self.waiting.difference_update(indices)
            self._keep()

    def real(self, indices: Iterable[int]) -> set[int]:
        """Keep those of ``indices`` that name a scope: a corrupt slot may hold any number."""
        return {index for index in indices if index < self._arena.scopes}

    def _keep(self) -> None:
        if self.waiting or self._unsure:
            kept = Waiting(self._identity, sorted(self.waiting), self._unsure)
            replace_file(self._data.recount_file, msgspec.json.encode(kept))
        else:
            self._data.recount_file.unlink(missing_ok=True)


def _may_be_wrong(arena: Arena, index: int) -> bool:
    """Return whether the scope's money word holds anything, or cannot be read now."""
    try:
        return arena.meters(index).committed > 0
    except RuntimeError:
        return True


async def recount(
    arena: Arena, store: Store, indices: Sequence[int], journals: Sequence[Journal]
) -> list[int]:
    """Recount these scopes; answer those that were set.

    All journals of the host are given, every row of theirs in the ledger is freed, ``policy.lock``
    is held, and no row moves until it returns: then ledger + slots is the whole truth.
    """
    wall_ms = time.time_ns() // 1_000_000
    done: list[int] = []
    host = store.host if arena.clustered else None  # one of several is answerable for its own rows
    async with store.read() as connection:
        for index in indices:
            try:
                scope = arena.identity(index)
                (first_day, end_day) = arena.window(index, wall_ms)
            except (RuntimeError, ValueError):  # its policy is being written: another turn
                continue
            spent = await window_spend(connection, scope.kind, scope.id, first_day, end_day, host)
            if arena.recount(index, first_day, spent, journals):
                done.append(index)
    return done
