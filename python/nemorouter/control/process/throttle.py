"""Admit control-plane requests to the worker's loop one per millisecond.

A burst of them then delays a model call by at most one step.
"""

import asyncio
from collections import deque
from typing import Final

from nemorouter.errors import BusyError

MOST: Final = 2_048
"""Requests that wait for their turn at once."""
_APART_S: Final = 0.001
"""Admitted requests take a part of it, so that a worker's loop keeps time for model calls."""


class Throttle:
    """Pace the requests of one event loop.

    A request that comes alone goes on at once. Of a burst, one after the other goes on, in the
    order of arrival.
    """

    __slots__ = ("_next", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._next: asyncio.TimerHandle | None = None

    async def __call__(self) -> None:
        """Wait for one's turn. BusyError: too many wait."""
        loop = asyncio.get_running_loop()
        if self._next is None:
            self._next = loop.call_later(_APART_S, self._let, loop)
            return
        if len(self._waiting) >= MOST:
            raise BusyError("Too many requests at once.", retry_s=1)
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _let(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the first go on of those that still wait."""
        self._next = None
        while self._waiting and self._next is None:
            turn = self._waiting.popleft()
            if not turn.done():  # its task was cancelled
                turn.set_result(None)
                self._next = loop.call_later(_APART_S, self._let, loop)
