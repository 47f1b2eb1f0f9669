"""Notices clients that leave while they wait for an upstream.

To look costs a task and two visits to the server's threads, and a timer for each call no less; most
answers come before a client can leave. So one timer serves all calls of a worker, and looks only
for the clients of slow ones.
"""

import asyncio
from functools import partial
from typing import Any, Final

from nemorouter.gateway.wire import Connection

_TICK_S: Final = 0.05
"""A client is looked for when its call has waited between one and two of these."""

_Task = asyncio.Task[Any]


class DisconnectWatcher:
    """Cancels tasks that wait for an upstream when their client leaves; one an event loop."""

    __slots__ = ("_gone", "_looks", "_new", "_ticks", "_waited")

    def __init__(self) -> None:
        self._new: dict[_Task, Connection] = {}
        self._waited: dict[_Task, Connection] = {}  # at the last tick already
        self._looks: dict[_Task, asyncio.Future[None]] = {}
        self._gone: set[_Task] = set()  # cancelled because the client left
        self._ticks = False

    def watch(self, task: _Task, connection: Connection) -> None:
        """From now on ``task`` works for the client of ``connection`` alone."""
        self._new[task] = connection
        if not self._ticks:
            self._wind()

    def release(self, task: _Task) -> None:
        """Watch ``task`` no more: its work for this client is done."""
        if self._new.pop(task, None) is None and self._waited.pop(task, None) is None:
            self._gone.discard(task)
            look = self._looks.pop(task, None)
            if look is not None:
                look.cancel()

    def left(self, task: _Task) -> bool:
        """Return whether ``task`` was cancelled because its client left, and for nothing else.

        Then the cancellation is undone.
        """
        return task in self._gone and task.uncancel() == 0

    def _wind(self) -> None:
        """Let the timer run while there are calls."""
        self._ticks = bool(self._new or self._waited)
        if self._ticks:
            asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    def _tick(self) -> None:
        due = self._waited
        self._waited = self._new
        self._new = {}
        self._wind()  # before a look, which may fail
        for task, connection in due.items():
            self._look(task, connection)

    def _look(self, task: _Task, connection: Connection) -> None:
        look = asyncio.ensure_future(connection.client_disconnect())
        self._looks[task] = look
        look.add_done_callback(partial(self._leave, task))

    def _leave(self, task: _Task, look: "asyncio.Future[None]") -> None:
        if task in self._looks and not look.cancelled():
            self._gone.add(task)
            task.cancel()
