"""Run the master of ``serve``: fork the workers, start the drainer, replace what dies, end all."""

import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from typing import Any, Final

from granian.server import Server as GranianServer

from nemorouter import log
from nemorouter._core import set_process_name
from nemorouter.app import MISCONFIGURED
from nemorouter.datadir.ending import NAME
from nemorouter.datadir.holders import holders
from nemorouter.datadir.paths import DataDir
from nemorouter.server.drainer import DrainerProcess

_SIGNALS: Final = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
"""Signals for the master: the end, for the first two, and workers made anew."""
_SHORT_LIFE_S: Final = 2.0
_PROVEN_S: Final = 10.0
"""Once a worker lived so long, the set-up was good: what refuses a later one may pass, such as a
full disk.
"""
_LONGEST_PAUSE_S: Final = 5.0

_LOOK_S: Final = 5.0
"""The interval in which the master checks that the drainer lives."""
_HANGS_S: Final = 30.0

_log = log.get_logger(__name__)


class Master(GranianServer):  # type: ignore[misc,valid-type]  # Granian's servers carry no types
    """Granian's master, which also keeps the drainer's process.

    It never gives up on a crashed worker, and misses none that died together with another. Signals
    are blocked in all threads and received by one of their own: a handler would run inside whatever
    the main thread does, where it may wait for a lock that this thread holds itself. Children begin
    with the same signals blocked, so none is lost before they listen.
    """

    def __init__(self, data: DataDir, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._data = data
        self._drainer = DrainerProcess(self.main_loop_interrupt.set)
        self._quick_deaths = 0
        self._proven = False

    def serve(self, *arguments: Any, **options: Any) -> None:
        """Serve until SIGTERM or SIGINT.

        They stay blocked afterwards, so that the last steps of the program are not disturbed.
        """
        set_process_name(NAME + "master")
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        threading.Thread(target=self._listen, name="nemorouter-signals", daemon=True).start()
        self._drainer.start()
        try:
            super().serve(*arguments, **options)
        finally:
            self._drainer.stop()  # last: it takes up what killed workers left

    def _listen(self) -> None:
        while True:
            if signal.sigwait(_SIGNALS) == signal.SIGHUP:
                self.signal_handler_reload()
            else:
                self.signal_handler_interrupt()

    def _serve_loop(
        self, spawn_target: Callable[..., None], target_loader: Callable[..., Any]
    ) -> None:
        pause = _LOOK_S
        while not self.interrupt_signal:
            self.main_loop_interrupt.wait(pause)
            self.main_loop_interrupt.clear()  # before anything is looked at: nothing is missed
            if self.interrupt_signal:
                return
            self._kill_who_hangs()
            pause = min(_LOOK_S, self._drainer.look_after())
            dead = [index for index, worker in enumerate(self.wrks) if not worker.is_alive()]
            if self._is_misconfigured(dead):
                return
            self.interrupt_children.clear()
            if dead:
                self._pause_before(dead)
                self._respawn_workers(dead, spawn_target, target_loader)
            if self.reload_signal:
                self._reload(spawn_target, target_loader)
                self.main_loop_interrupt.set()  # Granian clears it: look once more

    def _kill_who_hangs(self) -> None:
        """Kill the child that holds the drainer's lock and has reported nothing for long.

        It is stopped or hangs, and the requests of the whole host wait for it.
        """
        status = self._data.drainer_status()
        if status is None or status.silent_s() < _HANGS_S:
            return
        children = {self._drainer.pid, *(worker.inner.pid for worker in self.wrks)}
        for process in holders(self._data.drainer_lock):
            if process.pid == status.pid and process.pid in children:
                _log.error("drainer_killed", pid=process.pid, silent_s=round(status.silent_s()))
                os.kill(process.pid, signal.SIGKILL)

    def _is_misconfigured(self, dead: list[int]) -> bool:
        """Report whether a worker was refused by a set-up that never worked."""
        now = time.monotonic()
        self._proven = self._proven or any(now - worker.birth > _PROVEN_S for worker in self.wrks)
        codes = (self.wrks[index].inner.exitcode for index in dead)
        return not self._proven and MISCONFIGURED in codes

    def _pause_before(self, dead: list[int]) -> None:
        """Wait, if workers die as soon as they are made."""
        now = time.monotonic()
        young = any(now - self.wrks[index].birth < _SHORT_LIFE_S for index in dead)
        self._quick_deaths = self._quick_deaths + 1 if young else 0
        if self._quick_deaths > 1:
            pause_s = min(0.1 * 2**self._quick_deaths, _LONGEST_PAUSE_S)
            self.main_loop_interrupt.wait(pause_s)

    def _respawn_workers(
        self,
        workers: list[int],
        spawn_target: Callable[..., None],
        target_loader: Callable[..., Any],
        delay: float = 0,
    ) -> None:
        """Replace workers one by one, unless the end is requested meanwhile."""
        for index in workers:
            if self.interrupt_signal:
                return
            new = self._spawn_worker(idx=index, target=spawn_target, callback_loader=target_loader)
            new.start()
            old = self.wrks[index]
            self.wrks[index] = new
            time.sleep(delay)
            self._end([old])

    def _stop_workers(self) -> None:
        self._end(self.wrks)
        self.wrks.clear()

    def _end(self, workers: list[Any]) -> None:
        """Ask workers to end, and kill those that are there after ``workers_kill_timeout``."""
        for worker in workers:
            worker.terminate()
        last = time.monotonic() + self.workers_kill_timeout
        for worker in workers:
            if not wait([worker.inner.sentinel], max(0, last - time.monotonic())):
                _log.error("worker_killed", worker=worker.idx + 1, pid=worker.inner.pid)
                worker.kill()
            worker.join()

    def shutdown(self, exit_code: int = 0) -> None:
        """End the workers. An end that was asked for has exit code 0.

        So it has even if a worker died so late that it was not replaced.
        """
        try:
            super().shutdown(exit_code)
        except SystemExit:
            if exit_code or not self.interrupt_signal:
                raise
