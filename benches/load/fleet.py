"""Start and check each server of a run when it is first needed, and end it with the run.

A wrong answer ends the run. A rival's wrong answer does not: the rival is then left out, and the
reason goes into the report.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from benches.load.case import LOAD_CORE, SERVE_CORE, Server, UnavailableError
from nemorouter.bench.process import Running

Say = Callable[[str], None]


class _Entry(NamedTuple):
    """A server of the fleet that may not have been started yet."""

    make: Callable[[], Server]
    core: int
    rival: bool


class Fleet:
    """The servers of a run by name; ``skipped`` has the reason for each that was left out."""

    def __init__(self, folder: Path, stack: ExitStack, say: Say) -> None:
        self.folder = folder
        self.say = say
        self.versions: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self._stack = stack
        self._known: dict[str, _Entry] = {}
        self._running: dict[str, Running] = {}
        os.sched_setaffinity(0, {LOAD_CORE})

    def know(self, server: Server, core: int = SERVE_CORE) -> None:
        """Add a server that is no rival; the run ends if it cannot be measured."""
        self._known[server.name] = _Entry(lambda: server, core, rival=False)

    def know_rival(self, name: str, make: Callable[[], Server]) -> None:
        """Add a rival. ``make`` may install it, and raises UnavailableError where that fails."""
        self._known[name] = _Entry(make, SERVE_CORE, rival=True)

    def is_rival(self, name: str) -> bool:
        """Tell whether server ``name`` is a rival, which may be left out."""
        return self._known[name].rival

    def need(self, name: str) -> Running | None:
        """Return server ``name``, started if it does not run; None if it had to be left out."""
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
        """Leave a server or a case out, and keep the reason."""
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
