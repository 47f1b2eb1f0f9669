"""Define a stop flag for a thread that runs an event loop: ``sleep`` ends when the flag is set."""

import asyncio
import threading
from contextlib import suppress


class Stop(threading.Event):
    """``set`` it from any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._sleeper: asyncio.Future[None] | None = None

    def set(self) -> None:
        """End the sleep that is under way, and every later one."""
        super().set()
        sleeper = self._sleeper
        if sleeper is not None:
            with suppress(RuntimeError):  # its loop was closed meanwhile
                sleeper.get_loop().call_soon_threadsafe(_wake, sleeper)

    async def sleep(self, seconds: float) -> None:
        """Sleep so long, or until ``set``. One coroutine at a time."""
        loop = asyncio.get_running_loop()
        sleeper = loop.create_future()
        self._sleeper = sleeper
        timer = loop.call_later(seconds, _wake, sleeper)
        if self.is_set():  # before `set` could see the sleeper
            _wake(sleeper)
        try:
            await sleeper
        finally:
            self._sleeper = None
            timer.cancel()


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
