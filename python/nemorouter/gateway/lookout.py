"""Notices clients that leave while they wait for an upstream.

To look costs a task and two visits to the server's threads, and a timer for each call no less; most answers come
before a client can leave. So one timer serves all calls of a worker, and looks only for the clients of slow ones.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from nemorouter.gateway.wire import ClientGoneError, Connection

_TICK_S: Final = 0.05
"""A client is looked for when its call has waited between one and two of these."""


class Lookout:
    """One for each event loop."""

    __slots__ = ("_calls", "_ticks")

    def __init__(self) -> None:
        self._calls: set[_Waiting] = set()
        self._ticks = False

    async def over(self, work: Coroutine[Any, Any, None], connection: Connection) -> None:
        """Run ``work``, which is cancelled when the client leaves; then ClientGoneError."""
        task = asyncio.current_task()
        if task is None:  # the server's tasks are none of asyncio's
            await asyncio.ensure_future(self.over(work, connection))
            return
        call = _Waiting(task, connection)
        self._calls.add(call)
        self._wind()
        try:
            await work
        except asyncio.CancelledError:
            if call.left and task.uncancel() == 0:
                raise ClientGoneError from None
            raise
        finally:
            self._calls.discard(call)
            call.end()

    def _wind(self) -> None:
        """Let the timer run while there are calls."""
        if self._calls and not self._ticks:
            self._ticks = True
            asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    def _tick(self) -> None:
        due = [call for call in self._calls if call.waited]
        self._calls.difference_update(due)
        for call in self._calls:
            call.waited = True
        self._ticks = False
        self._wind()  # before a look, which may fail
        for call in due:
            call.look()


class _Waiting:
    """One call, and the task that is cancelled when its client leaves."""

    __slots__ = ("_connection", "_gone", "_over", "_task", "left", "waited")

    def __init__(self, task: "asyncio.Task[Any]", connection: Connection) -> None:
        self._task = task
        self._connection = connection
        self._gone: asyncio.Future[None] | None = None
        self._over = self.left = self.waited = False

    def look(self) -> None:
        """From now on a client that leaves cancels the task."""
        self._gone = asyncio.ensure_future(self._connection.client_disconnect())
        self._gone.add_done_callback(self._leave)

    def _leave(self, gone: "asyncio.Future[None]") -> None:
        if not self._over and not gone.cancelled():
            self.left = True
            self._task.cancel()

    def end(self) -> None:
        """The work is done: the task goes on to other things, and must not be cancelled for this one."""
        self._over = True
        if self._gone is not None:
            self._gone.cancel()
