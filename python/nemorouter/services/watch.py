"""The thread that looks for budget alerts and posts them: in every process that serves, at work in one of a host.

It must never end before it is told to, and never take more than a small share of one processor.
"""

import asyncio
import threading
import time
from typing import Final

from nemorouter.datadir import DataDir, Flock
from nemorouter.log import get_logger
from nemorouter.services.alerts import find_alerts
from nemorouter.services.context import Context
from nemorouter.services.deliver import deliver
from nemorouter.settings import Settings

_PAUSE_S: Final = 1.0
_SHARE: Final = 20  # it rests so many times as long as it worked
_RETRY_S: Final = 10.0

_log = get_logger(__name__)


class Watcher:
    """``start`` it in every process that serves; ``stop`` it before the store is closed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = DataDir(settings.data_dir).root / "alerts.lock"
        self._stopping = threading.Event()
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
        pause = _PAUSE_S
        while not self._stopping.wait(pause):
            pause = _PAUSE_S
            try:
                lock = Flock.attempt(self._lock)
                if lock is not None:
                    with lock:
                        asyncio.run(self._work())
            except Exception as error:
                pause = _RETRY_S
                _log.error("alerts_failed", reason=type(error).__name__, exc_info=error)

    async def _work(self) -> None:
        context = await Context.open(self._settings)
        try:
            while not self._stopping.is_set():
                begun = time.monotonic()
                await find_alerts(context)
                worked = time.monotonic() - begun
                await deliver(context)
                await self._rest(max(_PAUSE_S, _SHARE * worked))
        finally:
            await context.close()

    async def _rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stopping.is_set() and (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.2))
