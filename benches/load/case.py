"""Define the terms of the load benchmarks: server, case, scenario."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from nemorouter.bench.process import Running, cores, free_port, running

SERVE_CORE = cores()[0]
"""The core of the server under measurement. The load never shares it where there are two cores."""
LOAD_CORE = cores()[-1]
UPSTREAM_CORE = cores()[1] if len(cores()) > 2 else LOAD_CORE
"""The core of the local provider: the load's, unless there is a third one."""


class UnavailableError(Exception):
    """A rival cannot be installed or started here; the text is the reason, for the report."""


class Server(NamedTuple):
    """A server to measure, and how to start it.

    ``command``, ``ready``, ``check`` and ``env`` take its port. ``check`` raises AssertionError if
    an answer is wrong; it runs before the server is measured.
    """

    name: str
    version: str
    command: Callable[[int], Sequence[str]]
    ready: Callable[[int], bool]
    check: Callable[[int], None]
    env: Callable[[int], Mapping[str, str]] = lambda _: {}
    cwd: Path | None = None
    port_of: Callable[[Running], int] | None = None
    """Finds the port of a server that chooses it itself."""

    def start(self, folder: Path, core: int = SERVE_CORE) -> AbstractContextManager[Running]:
        """Start the server pinned to ``core``; it ends with the context."""
        port = free_port()
        log = folder / f"{self.name.replace(' ', '-').replace('/', '-')}-{port}.log"
        return running(
            self.command(port),
            port,
            self.ready,
            core=core,
            log=log,
            env=self.env(port),
            cwd=self.cwd or folder,
        )


class Case(NamedTuple):
    """Requests to one server, sent in turn, and the status that each answer must have."""

    name: str
    server: str
    payloads: tuple[bytes, ...]
    status: int = 200
    remark: str = ""
    """What the server leaves out, or what favours it."""


class Scenario(NamedTuple):
    """Cases that are comparable, since each does the same for a request; ``base`` is their base."""

    name: str
    title: str
    base: Case
    cases: Sequence[Case]
