"""The master of ``serve``: it forks the workers, replaces those that die, and ends them."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from granian.server import Server as GranianServer

from nemorouter.app import MISCONFIGURED

ENDING: Final = {signal.SIGTERM, signal.SIGINT}
"""Signals that ask for the end."""
_SHORT_LIFE_S = 2.0
_PROVEN_S = 10.0
"""Once a worker lived so long, the set-up was good: what refuses a later one may pass, such as a
full disk.
"""
_LONGEST_PAUSE_S = 5.0


class Master(GranianServer):  # type: ignore[misc,valid-type]  # Granian's servers carry no types
    """Granian's master, but it never gives up on a crashed worker, and misses none that died
    together with another.
    """

    def _serve_loop(
        self, spawn_target: Callable[..., None], target_loader: Callable[..., Any]
    ) -> None:
        quick_deaths, proven = 0, False
        while True:
            self.main_loop_interrupt.wait()
            if self.interrupt_signal:
                return
            self.main_loop_interrupt.clear()
            dead = [index for index, worker in enumerate(self.wrks) if not worker.is_alive()]
            proven = proven or any(
                time.monotonic() - worker.birth > _PROVEN_S for worker in self.wrks
            )
            if not proven and any(
                self.wrks[index].inner.exitcode == MISCONFIGURED for index in dead
            ):
                return
            self.interrupt_children.clear()
            if dead:
                young = any(
                    time.monotonic() - self.wrks[index].birth < _SHORT_LIFE_S for index in dead
                )
                quick_deaths = quick_deaths + 1 if young else 0
                if quick_deaths > 1:
                    self.main_loop_interrupt.wait(min(0.1 * 2**quick_deaths, _LONGEST_PAUSE_S))
                    if self.interrupt_signal:
                        return
                self._respawn_workers(dead, spawn_target, target_loader)
            if self.reload_signal:
                self._reload(spawn_target, target_loader)

    def shutdown(self, exit_code: int = 0) -> None:
        """Who asked for the end gets a clean one, even if a worker died so late that nobody
        replaced it.
        """
        try:
            super().shutdown(exit_code)
        except SystemExit:
            if exit_code or not self.interrupt_signal:
                raise

    def _spawn_workers(
        self, spawn_target: Callable[..., None], target_loader: Callable[..., Any]
    ) -> None:
        with _unheard():
            super()._spawn_workers(spawn_target, target_loader)

    def _respawn_workers(self, workers: list[int], *arguments: Any, **options: Any) -> None:
        with _unheard():
            super()._respawn_workers(workers, *arguments, **options)


@contextmanager
def _unheard() -> Iterator[None]:
    """Hold signals back from a worker that is forked meanwhile, until it can obey them.

    Else one that came while it starts is lost: it has the master's handler first, then one that
    nobody hears yet.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
