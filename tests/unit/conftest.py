"""Unit tests start no process and open no connection: one that tries, fails.

A test that needs either belongs to ``tests/integration``.
"""

import sys
from collections.abc import Iterator
from typing import Final

import pytest

_FORBIDDEN: Final = frozenset(
    {
        "subprocess.Popen",
        "os.fork",
        "os.posix_spawn",
        "os.exec",
        "os.system",
        "socket.bind",
        "socket.connect",
    }
)
_running: list[str] = []
"""The unit test that runs in this process; the hook stays for other folders' tests too."""


def _refuse(event: str, _: tuple[object, ...]) -> None:
    if _running and event in _FORBIDDEN:
        raise AssertionError(f"a unit test may not do this: {event}")


sys.addaudithook(_refuse)


@pytest.fixture(autouse=True)
def _alone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Watch over one test."""
    _running.append(request.node.nodeid)
    yield
    _running.clear()
