"""The servers of a run: each is started and checked when it is first needed, and ended with the
run.

A wrong answer ends the run, unless it is a rival's: that rival is then left out, with the reason.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from benches.load.case import LOAD_CORE, SERVE_CORE, Server, UnavailableError
from nemorouter.bench.process import Running

Say = Callable[[str], None]


class _Known(NamedTuple):
    make: Callable[[], Server]
    core: int
    rival: bool


class Fleet:
    """Servers by name."""

    def __init__(self, folder: Path, stack: ExitStack, say: Say) -> None:
        self.folder = folder
        self.say = say
        self.versions: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self._stack = stack
        self._known: dict[str, _Known] = {}
        self._running: dict[str, Running] = {}
        os.sched_setaffinity(0, {LOAD_CORE})

    def know(self, server: Server, core: int = SERVE_CORE) -> None:
        """One of ours, or a floor."""
        self._known[server.name] = _Known(lambda: server, core, rival=False)

    def know_rival(self, name: str, make: Callable[[], Server]) -> None:
        """``make`` may install it; UnavailableError says why that failed."""
        self._known[name] = _Known(make, SERVE_CORE, rival=True)

    def is_rival(self, name: str) -> bool:
        """May it be left out?"""
        return self._known[name].rival

    def need(self, name: str) -> Running | None:
        """The running server; None if it cannot be had, and the reason is in ``skipped``."""
        if name in self._running or name in self.skipped:
            return self._running.get(name)
        try:
            return self._start(name)
        except (UnavailableError, RuntimeError, OSError, AssertionError) as error:
            if not self._known[name].rival:
                raise
            self.skip(name, error)
            return None

    def skip(self, name: str, reason: Exception) -> None:
        """Leave it out."""
        self.skipped[name] = " ".join(str(reason).split())[:300] or type(reason).__name__
        self.say(f"skipped {name}: {self.skipped[name]}")

    def _start(self, name: str) -> Running:
        server = self._known[name].make()
        self.say(f"starting {server.name} {server.version}")
        up = self._stack.enter_context(server.start(self.folder, self._known[name].core))
        if server.port_of is not None:
            up = up._replace(port=server.port_of(up))
        server.check(up.port)
        self._running[name] = up
        self.versions[name] = server.version
        return up
