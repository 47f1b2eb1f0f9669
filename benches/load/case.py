"""The words of the load benchmarks: a server, a case, a scenario, and why a rival could not be had."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from nemorouter.bench.process import Running, cores, free_port, running

SERVE_CORE, LOAD_CORE = cores()[0], cores()[-1]
"""Server and load never share a core. A local upstream stands on the load's side."""
UPSTREAM_CORE = cores()[1] if len(cores()) > 2 else LOAD_CORE


class UnavailableError(Exception):
    """A rival cannot be had or started here; the text says why, and goes into the report."""


class Server(NamedTuple):
    """How to start what is measured. ``check`` asks it questions before any time is taken;
    AssertionError if wrong.
    """

    name: str
    version: str
    command: Callable[[int], Sequence[str]]
    ready: Callable[[int], bool]
    check: Callable[[int], None]
    env: Callable[[int], Mapping[str, str]] = lambda _: {}
    cwd: Path | None = None
    port_of: Callable[[Running], int] | None = None
    """For a server that chooses its port itself."""

    def start(self, folder: Path, core: int = SERVE_CORE) -> AbstractContextManager[Running]:
        """Run it pinned to ``core``."""
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
    """One bar of a scenario: requests (sent in turn) to a server, and the status each must have."""

    name: str
    server: str
    payloads: tuple[bytes, ...]
    status: int = 200
    remark: str = ""
    """What it leaves out, or what favours it."""


class Scenario(NamedTuple):
    """Cases that answer the same question, each compared with ``base``."""

    name: str
    title: str
    base: Case
    cases: Sequence[Case]
