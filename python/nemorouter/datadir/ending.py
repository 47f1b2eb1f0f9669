"""The end of a process that ``serve`` started: what asks for it, and by when it must have come.

Nothing may delay it: a native thread, which needs neither Python's lock nor a signal handler, kills
a process that has not ended in time. The journal survives that.
"""

import asyncio
import os
import select
import signal
from collections.abc import Callable
from typing import Final

from nemorouter._core import set_process_name, watch_for_end

ORPHAN_S: Final = 4.0
"""Seconds that a process may outlive the master of ``serve``."""
NAME: Final = "nemo-"
"""The beginning of the names of the processes of ``serve``.

They are ``nemo-master``, ``nemo-worker``, ``nemo-drainer`` and ``nemo-control``.
"""
_ASKED: Final = b"T"


class Ending:
    """Receives the request that this process ends: SIGTERM, or the end of one of its ``masters``.

    ``limit_s`` seconds after the first SIGTERM, and ``ORPHAN_S`` seconds after the end of a master,
    the process is killed, whatever it is doing. Further signals change nothing. SIGINT is ignored:
    Ctrl-C reaches the whole process group, and the master alone acts on it.

    Make it before the process has other threads, since they inherit that SIGTERM is blocked.
    """

    def __init__(self, role: str, masters: list[int], *, limit_s: float) -> None:
        set_process_name(NAME + role)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        self._limit_s = limit_s
        self._signals = watch_for_end(masters, limit_s, ORPHAN_S)

    def wait(self) -> None:
        """Block the calling thread until the end is requested."""
        select.select([self._signals], [], [])

    def listen(self, loop: asyncio.AbstractEventLoop, begin: Callable[[float], None]) -> None:
        """Call ``begin`` in ``loop`` with the seconds that are left.

        It is called once for SIGTERM, and once for the end of a master.
        """
        loop.add_reader(self._signals, self._read, begin)

    def _read(self, begin: Callable[[float], None]) -> None:
        for cause in os.read(self._signals, 2):
            begin(self._limit_s if cause == _ASKED[0] else ORPHAN_S)
