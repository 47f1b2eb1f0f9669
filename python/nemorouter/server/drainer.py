"""Run the host's drainer in a process of its own, so that it never delays a worker's requests.

``DrainerProcess`` is the master's view of it, ``drain`` what the process runs. Workers drain while
there is none.
"""

import gc
import math
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from nemorouter import log
from nemorouter.control.process.supervisor import ControlSupervisor
from nemorouter.datadir.ending import Ending
from nemorouter.drainer.thread import Drainer
from nemorouter.services.budgets.watch import Watcher
from nemorouter.settings import Settings

_PROGRAM: Final = "import sys; from nemorouter.server.drainer import drain; drain(int(sys.argv[1]))"
_READY_S: Final = 10.0
"""The time for which the master waits for the process to drain, before it makes workers."""
_ELECTION_S: Final = 2.0
"""The time for which the process waits to be the one that drains, in place of another server's."""
_LIMIT_S: Final = 30.0
"""The time in which the process must end after SIGTERM.

It drains once more, and ends the control plane's process.
"""
_PAUSES_S: Final = (0.0, 1.0, 2.0, 5.0)
"""The pauses before the master starts the process again, by how often it died young."""
_SHORT_LIFE_S: Final = 10.0
_COLLECT_EVERY: Final = 100_000
"""Objects that the process makes before the collector looks: rows are tuples, freed without it."""

_log = log.get_logger(__name__)


class DrainerProcess:
    """Starts the process, starts it again should it die, and ends it.

    It is no fork of the master, and is handled by the master's main thread alone: a fork copies the
    locks that other threads hold. ``wake`` is called from another thread when the process died.
    """

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake
        self._process: subprocess.Popen[bytes] | None = None
        self._born = 0.0
        self._due = 0.0
        self._young_deaths = 0

    def start(self) -> None:
        """Start the process and wait until it drains, so that no worker tries to."""
        process = self._spawn()
        if process.stdout is not None:
            select.select([process.stdout], [], [], _READY_S)

    @property
    def pid(self) -> int:
        """The process's number; 0 while there is none."""
        return 0 if self._process is None else self._process.pid

    def look_after(self) -> float:
        """Start the process again if it died; seconds until this must be called again."""
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return math.inf
            self._note_death(code)
        left = self._due - time.monotonic()
        if left > 0:
            return left
        self._spawn()
        return math.inf

    def stop(self) -> None:
        """End the process, and wait for its end."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()  # it ends itself in time, whatever it is doing

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", _PROGRAM, str(os.getpid())]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self._process = process
        self._born = time.monotonic()
        threading.Thread(target=self._watch, args=(process,), daemon=True).start()
        return process

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._wake()

    def _note_death(self, code: int) -> None:
        self._process = None
        young = time.monotonic() - self._born < _SHORT_LIFE_S
        self._young_deaths = self._young_deaths + 1 if young else 0
        pause_s = _PAUSES_S[min(self._young_deaths, len(_PAUSES_S) - 1)]
        self._due = time.monotonic() + pause_s
        _log.error("drainer_ended", exit_code=code, again_in_s=pause_s)


def drain(master: int) -> None:
    """Drain, keep the control plane's process and post alerts, until the end is requested.

    ``master`` is the process that this one must not outlive.
    """
    settings = Settings.load()
    log.configure(settings.log_level)
    ending = Ending("drainer", [master], limit_s=_LIMIT_S)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # the master's, like Ctrl-C
    drainer = Drainer(settings, dedicated=True)
    drainer.start()
    end = time.monotonic() + _ELECTION_S
    while time.monotonic() < end and (
        (status := drainer.status) is None or status.pid != os.getpid()
    ):
        time.sleep(0.005)
    watcher = Watcher(settings)
    control = ControlSupervisor(settings, [master])
    watcher.start()
    control.start()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY)
    print("ready", flush=True)
    ending.wait()
    control.stop()
    watcher.stop()
    drainer.stop()
