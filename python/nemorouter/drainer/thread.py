"""Run the drainer's thread: every serving process has one; the holder of ``drainer.lock`` works.

The thread ends only when it is told to: an error is logged, and the work begun again. A row's slot
stays until the row is committed, so an error loses nothing.
"""

import asyncio
import os
import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final

import msgspec

from nemorouter._core import Arena
from nemorouter.arena import attach
from nemorouter.datadir.files import replace_file
from nemorouter.datadir.locks import Flock
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.status import DrainerStatus, boot_id
from nemorouter.datadir.stop import Stop
from nemorouter.errors import NemoError, StoreError
from nemorouter.ledger.move import Drain
from nemorouter.ledger.retain import retain
from nemorouter.log import get_logger
from nemorouter.settings import Settings
from nemorouter.store.engine import Store

if TYPE_CHECKING:
    from nemorouter.cluster.agent import Agent

_CANDIDATE_S: Final = 0.25  # how often the lock is tried
_PAUSES_S: Final = {
    "process": (0.040, 0.050),
    "commit": (0.002, 0.005),
}  # between turns: with rows, without
_DOZE_S: Final = 0.25
_RETAIN_MORE_S: Final = 0.050
_BEAT_S: Final = 1.0  # how often the others are told
_FRESH_MS: Final = 5_000  # a drainer whose last good turn is longer ago is not well
_RETAIN_S: Final = 60.0
_REFRESH_S: Final = 600.0  # how often the words of idle scopes are brought up to date
_BACKOFF_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
_REPEAT_S: Final = 60.0  # the same error is logged this often

_log = get_logger(__name__)


class Drainer:
    """A drainer thread. ``start`` it in every process that serves, and ``stop`` it last.

    ``healthy`` speaks of the host's one drainer. A ``dedicated`` drainer goes first: others drain
    only while there is none, and give way to it. The host serves no more when the dedicated one is
    stopped.
    """

    def __init__(self, settings: Settings, *, dedicated: bool = False) -> None:
        self._settings = settings
        self._dedicated = dedicated
        self._data = DataDir(settings.data_dir)
        self._stopping = Stop()
        self._thread: threading.Thread | None = None
        self._rows = 0
        self._commit_ms = 0
        self._heartbeat_ms = 0
        self._error = ""
        self._reported = False  # since this one began to drain
        self._turned = 0.0  # when the last turn went well, or the first began
        self._reporting = threading.Lock()
        self._look_for_dedicated = 0.0
        self._failures = 0
        self._logged: tuple[str, float] = ("", 0.0)

    def start(self) -> None:
        """Begin to compete for the lock."""
        self._thread = threading.Thread(target=self._live, name="nemorouter-drainer", daemon=True)
        self._thread.start()

    def stop(self, deadline_s: float = 10.0) -> None:
        """Drain once more if nobody else does, and end. The caller has ended its own requests."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(deadline_s)

    @property
    def status(self) -> DrainerStatus | None:
        """Return what the host's drainer reported last."""
        return self._data.drainer_status()

    @property
    def healthy(self) -> bool:
        """True if some process of this host drains, and its last turn went well."""
        status = self.status
        return (
            status is not None and not status.error and _now_ms() - status.heartbeat_ms < _FRESH_MS
        )

    def _live(self) -> None:
        while True:
            try:
                asyncio.run(self._compete())
                return
            except Exception as error:
                self._failed(error)
                if self._stopping.wait(_BACKOFF_S[-1]):
                    return

    async def _compete(self) -> None:
        self._data.prepare()
        with ExitStack() as precedence:
            while True:
                last = self._stopping.is_set()
                if self._is_first(precedence):
                    lock = Flock.attempt(self._data.drainer_lock)
                    if lock is not None:
                        with lock:
                            await self._hold()
                        last = self._stopping.is_set()
                if last:
                    return
                await self._stopping.sleep(_CANDIDATE_S)

    def _is_first(self, precedence: ExitStack) -> bool:
        """Report whether this one may drain; ``precedence`` keeps the lock of a dedicated one.

        A dedicated one that fails gives the lock back until it tries again, so that others may do
        better.
        """
        lock = Flock.attempt(self._data.dedicated_lock)
        if lock is None:  # a dedicated one lives: this one, or another
            return self._dedicated
        if self._dedicated:
            precedence.enter_context(lock)
        else:
            lock.release()
        return True

    async def _hold(self) -> None:
        """Work until the end, or until a dedicated drainer is there.

        An error leaves the lock free for a process that may do better.
        """
        busy_s, idle_s = _PAUSES_S[self._settings.durability]
        self._turned = time.monotonic()
        self._reported = False
        arena = await attach.join(self._settings)
        store = (
            Store.open_lazily(self._settings)
            if arena is not None
            else await Store.open(self._settings, migrate=False)
        )
        agent = None
        over = threading.Event()
        try:
            if arena is None:
                arena = await attach.attach(self._settings, store)
            drain = Drain(self._data, arena, store)
            agent = self._agent(arena)
            threading.Thread(target=self._keep_telling, args=(drain, over), daemon=True).start()
            retain_at = time.monotonic()
            refresh_at = retain_at
            while not self._stopping.is_set() and not self._gives_way():
                moved = await self._turn(drain)
                if moved is None:
                    await self._stopping.sleep(_BACKOFF_S[min(self._failures, len(_BACKOFF_S)) - 1])
                    continue
                if time.monotonic() >= retain_at:
                    retain_at = time.monotonic() + (
                        _RETAIN_MORE_S if await self._retain(store) else _RETAIN_S
                    )
                if time.monotonic() >= refresh_at:
                    arena.roll_over()
                    refresh_at = time.monotonic() + _REFRESH_S
                if moved:
                    self._stopping.wait(
                        busy_s
                    )  # it blocks this thread's own loop, and costs a tenth
                else:
                    self._doze(drain, idle_s)
            if self._stopping.is_set():
                self._went_well(await drain.last_turn())
                self._report(drain)
        finally:
            over.set()
            if agent is not None:
                agent.stop(leave=self._dedicated and self._stopping.is_set())
            await store.close()

    def _gives_way(self) -> bool:
        """Report, at most once a second, whether a dedicated drainer waits for this one to stop."""
        if self._dedicated or time.monotonic() < self._look_for_dedicated:
            return False
        self._look_for_dedicated = time.monotonic() + _BEAT_S
        lock = Flock.attempt(self._data.dedicated_lock)
        if lock is not None:
            lock.release()
        return lock is None

    def _agent(self, arena: Arena) -> "Agent | None":
        """Make the host's agent.

        It has a thread of its own, so that neither waits for the other.
        """
        if self._settings.redis_url is None:
            return None
        # Only here, so that one machine loads nothing of the cluster.
        from nemorouter.cluster.agent import Agent

        agent = Agent(self._settings, arena)
        agent.start()
        return agent

    async def _retain(self, store: Store) -> bool:
        """Drop old rows; return True if there may be more. Without the store, all else goes on."""
        try:
            return await retain(store, self._settings.log_retention_days, _now_ms())
        except StoreError as error:
            self._failed(error)
            return False

    def _doze(self, drain: Drain, nap_s: float) -> None:
        """Look for rows alone for a while: a turn costs as much as ten looks."""
        end = time.monotonic() + _DOZE_S
        while not self._stopping.wait(nap_s) and time.monotonic() < end and drain.is_quiet():
            pass

    async def _turn(self, drain: Drain) -> int | None:
        """One turn; None if it failed in a way that the next may not."""
        try:
            moved = await drain.turn()
        except (NemoError, OSError) as error:
            self._failed(error)
            self._error = str(error)
            self._report(drain)
            return None
        self._went_well(moved)
        if not self._reported:
            self._report(drain)
        return moved

    def _went_well(self, moved: int) -> None:
        self._failures = 0
        self._error = ""
        self._turned = time.monotonic()
        self._heartbeat_ms = _now_ms()
        if moved:
            self._rows += moved
            self._commit_ms = self._heartbeat_ms

    def _keep_telling(self, drain: Drain, over: threading.Event) -> None:
        """Say each second that this process lives, also while a turn waits for the store."""
        while not over.wait(_BEAT_S):
            self._report(drain)

    def _report(self, drain: Drain) -> None:
        self._reported = True
        with self._reporting, suppress(OSError):  # a full disk: the store says so too
            status = DrainerStatus(
                boot=boot_id(),
                pid=os.getpid(),
                reported_us=time.monotonic_ns() // 1000,
                turn_s=time.monotonic() - self._turned,
                heartbeat_ms=self._heartbeat_ms,
                commit_ms=self._commit_ms,
                rows=self._rows,
                applied=drain.applied,
                error=self._error,
            )
            replace_file(self._data.status_file, msgspec.json.encode(status))

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        cause = f"{type(error).__name__}: {error}"
        now = time.monotonic()
        if cause != self._logged[0] or now - self._logged[1] > _REPEAT_S:
            self._logged = (cause, now)
            expected = isinstance(error, NemoError)
            _log.error(
                "drain_failed",
                reason=cause,
                failures=self._failures,
                exc_info=None if expected else error,
            )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
