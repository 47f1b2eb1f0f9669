"""A worker of ``serve``: the gateway under Granian, and how it ends.

Granian calls ``worker`` in each process that the master forks. No signal reaches Granian: its own
handler blocks for ever at the third one, with Python's lock held.
"""

import asyncio
import fcntl
import gc
import logging
import multiprocessing
import os
import resource
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar, cast

import uvloop
from granian import loops

from nemorouter import log
from nemorouter._core import set_time_slice
from nemorouter.app import App
from nemorouter.datadir.ending import Ending
from nemorouter.settings import Settings

LOOP: Final = "nemorouter"
"""Name of ``Loop`` among Granian's event loops."""
CONNECTIONS: Final = 16_384
"""Open connections a worker keeps, idle ones too; fewer where the system allows fewer files."""
_SLICE_US: Final = 600
"""Time slice of a worker's threads: shorter than the usual one, so that a worker that is woken need
not wait until the drainer or the pages have had theirs (``benches/signin.py``). With half of it
the built-in upstream is cheaper still, but a call to a provider, which has more threads in it,
dearer than with the usual one.
"""
_SETTLE_S: Final = 3.0
"""Seconds before a worker's last moment at which it breaks off what still runs, to settle it; a
quarter of the time where that is less.
"""
_AGAIN_S: Final = 0.1
"""The time in which a cancelled task must end."""

_log = log.get_logger(__name__)
T = TypeVar("T")


class Loop(uvloop.Loop):
    """An event loop that installs no signal handlers.

    ``finish`` is the handler that the server wanted to be called at SIGTERM.
    """

    def __init__(self) -> None:
        super().__init__()
        self._server: asyncio.Future[Any] | None = None
        self.finish: Callable[[], object] = lambda: None

    def add_signal_handler(self, _: int, callback: Callable[..., Any], *args: object) -> None:
        """Keep the handler as ``finish``, and leave the signal alone."""
        self.finish = partial(callback, *args)

    def run_until_complete(self, future: Generator[Any, None, T] | Awaitable[T]) -> T:
        """Run the loop until the server's own ``future`` is done."""
        server = asyncio.ensure_future(cast(Awaitable[T], future), loop=self)
        self._server = server
        return super().run_until_complete(server)

    def cancel_requests(self) -> None:
        """Cancel every task but the server's own."""
        for task in asyncio.all_tasks(self):
            if task is not self._server:
                task.cancel()

    def cancel_start(self) -> None:
        """Cancel the server's own task."""
        if self._server is not None:
            self._server.cancel()


@loops.register(LOOP)
def _new_loop() -> Loop:
    loop = Loop()
    asyncio.set_event_loop(loop)
    return loop


def worker() -> App:
    """Make the gateway of a worker process."""
    settings = Settings.load()
    log.configure(settings.log_level)
    be_prompt()
    parent = multiprocessing.parent_process()
    master = parent and parent.pid
    ending = Ending("worker", [master or os.getppid()], limit_s=settings.shutdown_timeout)
    return ForkedApp(settings, ending)


def be_prompt() -> None:
    """Keep the worker from waiting for others.

    Call it while the process has one thread, so that those to come have it too.
    """
    with suppress(OSError):  # a sandbox may forbid it; then the worker takes its turn like all
        set_time_slice(_SLICE_US)
    # The kernel's table of open files grows by doubling. Once there are threads, each time stops
    # the worker until all cores have come by, long on a busy machine: so let it have its full size
    # now.
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 2 * CONNECTIONS if soft == resource.RLIM_INFINITY else min(soft, 2 * CONNECTIONS)
    anything = os.open(os.devnull, os.O_RDONLY)
    with suppress(OSError):  # no room for it in the kernel: then it grows when it must
        os.close(fcntl.fcntl(anything, fcntl.F_DUPFD_CLOEXEC, most - 1))
    os.close(anything)


class ForkedApp(App):
    """The gateway in a process that the master forked.

    When the end is requested, the worker accepts no more and finishes what runs. What still runs
    shortly before its last moment is broken off and settled at what was produced.
    """

    def __init__(self, settings: Settings, ending: Ending) -> None:
        super().__init__(settings)
        self._ending = ending
        self._serves = False
        self._ends = False

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        if not isinstance(loop, Loop):
            raise TypeError(f"a worker runs in the event loop {LOOP!r}, not in {loop!r}")
        self._ending.listen(loop, partial(self._end, loop))
        try:
            super().__rsgi_init__(loop)
        except asyncio.CancelledError:
            sys.exit()
        if self._ends:  # it was too late to cancel the start
            self.__rsgi_del__(loop)
            sys.exit()
        self._serves = True
        gc.collect()
        gc.freeze()  # what lives now lives for ever: no collection needs to look at it again

    def _end(self, loop: Loop, left_s: float) -> None:
        """Finish within ``left_s`` seconds. A later call may leave less time, never more."""
        first = not self._ends
        self._ends = True
        if not self._serves:
            loop.cancel_start()
            return
        loop.call_later(left_s - min(_SETTLE_S, left_s / 4), self._cut, loop)
        self.close_bodies()
        if first:
            loop.finish()

    def _cut(self, loop: Loop) -> None:
        """Break off the requests that still run; each settles itself."""
        if requests := self.in_flight():
            _log.warning("requests_cut_off", requests=requests)
        logging.getLogger("_granian.utils").addFilter(_is_no_cancellation)
        self._cancel(loop)

    def _cancel(self, loop: Loop) -> None:
        """Cancel what runs, again and again: a task may wait once more before it ends."""
        loop.cancel_requests()
        gc.collect()  # Granian ends an answer when nothing refers to it; an exception refers to it
        loop.call_later(_AGAIN_S, self._cancel, loop)


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """Keep out what Granian says of each request that was broken off on purpose."""
    return "CancelledError" not in record.getMessage()
