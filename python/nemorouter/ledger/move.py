"""One turn of the drainer: rows to the store, dead workers to their end, money words to the truth.

It must never free a slot before its row is committed, nor recount while a row is in both places.
"""

import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from nemorouter._core import Arena, Journal
from nemorouter.arena import attach
from nemorouter.datadir import retained_counters, set_aside
from nemorouter.datadir.locks import Flock, locked
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.set_aside import Queue
from nemorouter.errors import ConfigurationError, StoreError
from nemorouter.ledger.recount import Recounts, recount
from nemorouter.log import get_logger
from nemorouter.store.engine import Store
from nemorouter.store.journals import move, open_journal, set_unfit_aside
from nemorouter.store.policies import change_seq

if TYPE_CHECKING:
    from nemorouter._core import RefusalCount

_BATCH: Final = 64  # recounts under one hold of policy.lock, so that a revocation waits little
_EVERY_MINUTE: Final = 1 << 40
_ROWS: Final = 4096  # of each journal in one transaction
_LIST_EVERY_S: Final = 1.0  # a directory's time of change is too coarse to be trusted alone
_DEFERRED_EVERY_S: Final = 0.25
_FROZEN_EVERY_S: Final = 5.0
_CHANGES_EVERY_S: Final = 1.0
_QUIET_EVERY_S: Final = (
    5.0  # where the store's change stamp has not changed since the last look but one
)
_CHANGES_APART_S: Final = 0.2  # while the store is written to: services need the lock more
_RETRY_EVERY_S: Final = 20.0  # what the arena cannot hold: only a removed price makes room for some

T = TypeVar("T")

_log = get_logger(__name__)


class Drain:
    """Drain the journals of a host, for the holder of ``drainer.lock``.

    The state of this object may be lost at any instant.
    """

    def __init__(self, data: DataDir, arena: Arena, store: Store) -> None:
        note = data.note()
        if note is None:
            raise ConfigurationError(f"The arena of {data.root} is gone. Restart all servers.")
        self._data = data
        self._arena = arena
        self._store = store
        self._recounts = Recounts(data, arena, note)
        self._live: dict[Path, Journal] = {}
        self._dead: dict[Path, Journal] = {}
        self._refusal_counts: list[RefusalCount] = []
        self._minute = 0
        self._look_at_frozen = 0.0
        self._look_at_changes = 0.0
        self._look_at_deferred = 0.0
        self._look_at_journals = 0.0
        self._looked_at_changes = 0.0
        self._change_stamp: tuple[int, ...] = ()
        self._listed: tuple[int, ...] = ()
        self._applied = -1
        self._retry_at = 0.0  # what is set aside may fit by then
        self._errors: list[Exception] = []

    async def turn(self) -> int:
        """Do what there is to do; answer how many rows went to the store.

        A step that fails hinders none of the others: its error is raised after them. StoreError:
        the store cannot be used, so that nothing else was tried; nothing was lost, come again.
        """
        self._errors.clear()
        moved = 0
        await self._attempt(self._find_journals())
        moved += await self._attempt(self._move(list(self._live.values()))) or 0
        for path, journal in list(self._dead.items()):
            moved += await self._attempt(self._end(path, journal)) or 0
        await self._attempt(self._follow_changes())
        await self._attempt(self._mend())
        if self._errors:
            raise self._errors[0]
        return moved

    async def _attempt(self, step: Coroutine[Any, Any, T]) -> T | None:
        try:
            return await step
        except StoreError:
            raise
        except Exception as error:
            self._errors.append(error)
            return None

    def is_quiet(self) -> bool:
        """Return true if no row waits in a journal, and no journal is new.

        Only deaths and changes may then be found by a turn.
        """
        return _file_stamp(self._data.journals) == self._listed and not any(
            j.rows(1) for j in self._live.values()
        )

    async def last_turn(self) -> int:
        """Before the end of the process: leave as little as can be in the journals of this host."""
        self._minute = _EVERY_MINUTE
        total = 0
        while moved := await self.turn():
            total += moved
        return total

    @property
    def applied(self) -> int:
        """Change sequence that the arena has seen."""
        return self._arena.applied

    async def _find_journals(self) -> None:
        """Open new journals, forget those that are gone, and claim those whose worker died."""
        now = time.monotonic()
        stamp = _file_stamp(self._data.journals)
        if stamp != self._listed or now >= self._look_at_journals:
            self._listed = stamp
            self._look_at_journals = now + _LIST_EVERY_S
            await self._list_journals()
        for path, journal in list(self._live.items()):
            if journal.lock_if_dead():
                self._dead[path] = self._live.pop(path)
                self._recounts.recover(journal)

    async def _list_journals(self) -> None:
        paths = self._data.journal_paths()
        new = any(path not in self._live and path not in self._dead for path in paths)
        if new or self._data.journal_drafts():
            # A journal is made under this lock: none is seen half made.
            async with locked(self._data.policy_lock):
                for path in self._data.journal_paths():
                    self._open(path)
                self._remove_drafts()
        for path in [path for path in self._live if path not in paths]:
            if not path.exists():
                del self._live[path]
        for journal in self._live.values():
            set_unfit_aside(self._data, journal)

    def _remove_drafts(self) -> None:
        """Remove the journals that workers had not finished when they were killed."""
        for draft in self._data.journal_drafts():
            lock = Flock.attempt(draft)
            if lock is not None:
                with lock:
                    draft.unlink(missing_ok=True)
                _log.info("journal_draft_removed", path=str(draft))

    def _open(self, path: Path) -> None:
        if path in self._live or path in self._dead:
            return
        journal = open_journal(path)
        if journal is not None:
            self._live[path] = journal

    async def _move(self, journals: Sequence[Journal]) -> int:
        """One group-committed transaction over all given journals."""
        minute = int(time.time() // 60)
        if minute != self._minute:
            for journal in journals:
                self._refusal_counts += journal.take_refusal_counts(max(minute, self._minute))
            self._minute = minute
        moved = await move(self._store, self._data, journals, self._refusal_counts, _ROWS)
        self._refusal_counts = []
        return moved

    async def _end(self, path: Path, journal: Journal) -> int:
        """Bring a dead worker's tickets into the ledger.

        Its journal is removed when that and the recounts are done.
        """
        total = 0
        set_unfit_aside(self._data, journal)
        while moved := await move(self._store, self._data, [journal], (), _ROWS):
            total += moved
        self._refusal_counts += journal.take_refusal_counts(_EVERY_MINUTE)
        await move(self._store, self._data, [], self._refusal_counts)
        self._refusal_counts = []
        retained_counters.add(self._data.counters_file, journal, path.name)
        path.unlink(missing_ok=True)
        del self._dead[path]
        _log.info("worker_recovered", journal=path.name, rows=total)
        return total

    async def _follow_changes(self) -> None:
        """Catch up if the store changed.

        Services do it themselves; this serves those that died in between.
        """
        now = time.monotonic()
        if now >= self._looked_at_changes + _CHANGES_APART_S:
            await self._look_for_changes(now)
        if (
            self._arena.applied != self._applied
        ):  # also by another process: a budget's duration may have changed
            self._applied = self._arena.applied
            self._look_at_frozen = 0.0

    async def _look_for_changes(self, now: float) -> None:
        self._looked_at_changes = now
        stamp = self._store.change_stamp()
        due = self._look_at_changes
        if stamp != self._change_stamp:
            due = now
        if now >= due:
            quiet = stamp and stamp == self._change_stamp
            self._change_stamp = stamp
            self._look_at_changes = now + (_QUIET_EVERY_S if quiet else _CHANGES_EVERY_S)
            if stamp or await self._newest() != self._arena.applied:
                await attach.catch_up(self._arena, self._store, self._data)
        if now >= self._retry_at:
            self._retry_at = now + _RETRY_EVERY_S
            if set_aside.read(self._data, Queue.CHANGES).total:
                await attach.try_again(self._arena, self._store, self._data)

    async def _newest(self) -> int:
        """Return the number of the newest change.

        It is read before the lock is taken: a store that is away must not keep a new worker
        waiting.
        """
        async with self._store.read() as connection:
            return await change_seq(connection)

    async def _mend(self) -> None:
        """Recount what waits.

        A recount waits after a death, a settlement that met a frozen word, and a changed duration.
        """
        wanted = set(self._recounts.waiting)
        deferred: dict[Path, set[int]] = {}
        now = time.monotonic()
        if now >= self._look_at_frozen:
            self._look_at_frozen = now + _FROZEN_EVERY_S
            wanted.update(self._arena.frozen())
        if wanted or now >= self._look_at_deferred:
            self._look_at_deferred = now + _DEFERRED_EVERY_S
            deferred = {
                path: self._recounts.real(listed)
                for path, journal in self._live.items()
                if (listed := journal.deferred())
            }
            wanted.update(*deferred.values())
        if not wanted and not deferred:
            return
        self._look_at_deferred = (
            0.0  # a settlement may have met a word that is frozen for its recount
        )
        done: set[int] = set()
        order = sorted(wanted)
        for start in range(0, len(order), _BATCH):
            done.update(await self._recount(order[start : start + _BATCH]))
        for path, indices in deferred.items():
            if done.issuperset(indices):
                self._live[path].finish_deferred()
        self._recounts.done(done)
        if len(done) < len(order):
            self._look_at_frozen = 0.0  # a worker stood in transition: come again

    async def _recount(self, indices: Sequence[int]) -> list[int]:
        async with locked(self._data.policy_lock):
            for path in self._data.journal_paths():
                self._open(path)
            journals = [*self._live.values(), *self._dead.values()]
            while await move(self._store, self._data, journals, (), _ROWS):
                pass  # also what a drainer before us committed and did not free
            return await recount(self._arena, self._store, indices, journals)


def _file_stamp(*paths: Path) -> tuple[int, ...]:
    """Return a value that changes when a file of ``paths`` is written to.

    It costs a system call each, where asking the store costs two visits of threads.
    """
    stamp: list[int] = []
    for path in paths:
        with suppress(OSError):
            found = path.stat()
            stamp += (found.st_mtime_ns, found.st_size)
    return tuple(stamp)
