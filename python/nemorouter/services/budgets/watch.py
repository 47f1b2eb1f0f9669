"""Look for budget alerts and post them, in a thread of every process that serves.

One thread of a host is at work: under ``serve`` the drainer's, under another server one of the
workers'. It ends only when it is stopped, and takes a small share of one processor.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Final

from nemorouter.datadir.locks import Flock
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.stop import Stop
from nemorouter.errors import StoreError
from nemorouter.log import get_logger
from nemorouter.services.budgets.alerts import find_alerts
from nemorouter.services.budgets.deliver import deliver
from nemorouter.services.transaction.context import Context
from nemorouter.settings import Settings

_PAUSE_S: Final = 1.0
_QUIET_S: Final = 5.0  # where the store does not change, only what is to be posted again can be due
_SHARE: Final = 20  # it rests so many times as long as it worked
_RETRY_S: Final = 10.0

_log = get_logger(__name__)


class Watcher:
    """``start`` it in every process that serves; ``stop`` it before the store is closed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = DataDir(settings.data_dir).alerts_lock
        self._stopping = Stop()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to compete for the lock."""
        self._thread = threading.Thread(target=self._live, name="nemorouter-alerts", daemon=True)
        self._thread.start()

    def stop(self, deadline_s: float = 5.0) -> None:
        """End after what is being done."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(deadline_s)

    def _live(self) -> None:
        pause = 0.0
        while not self._stopping.wait(pause):
            pause = _QUIET_S  # another process works
            try:
                lock = Flock.attempt(self._lock)
                if lock is not None:
                    with lock:
                        asyncio.run(self._work())
            except Exception as error:
                pause = _RETRY_S
                _log.error("alerts_failed", reason=type(error).__name__, exc_info=error)

    async def _step(self, step: Callable[[Context], Awaitable[int]], context: Context) -> None:
        """Take one of the two steps; a fault in it hinders the other as little as it can."""
        try:
            await step(context)
        except StoreError:
            raise
        except Exception as error:
            _log.error("alerts_failed", reason=type(error).__name__, exc_info=error)
            await self._stopping.sleep(_RETRY_S)

    async def _work(self) -> None:
        context = await Context.open(self._settings)
        try:
            seen: tuple[int, ...] = ()
            looked = 0.0
            worked = 0.0
            while not self._stopping.is_set():
                stamp = context.store.change_stamp()
                begun = time.monotonic()
                if not stamp or stamp != seen or begun >= looked + _QUIET_S:
                    seen = stamp
                    looked = begun
                    await self._step(find_alerts, context)
                    worked = time.monotonic() - begun
                    await self._step(deliver, context)
                await self._stopping.sleep(max(_PAUSE_S, _SHARE * worked))
        finally:
            await context.close()
