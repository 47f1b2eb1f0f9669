"""Processes of a server whose master is gone: they end by themselves, or the next start ends them.

A process that is stopped cannot end itself, and keeps the locks of the data directory.
"""

import os
import signal
import time
from contextlib import suppress
from typing import Final

from nemorouter.datadir.ending import NAME, ORPHAN_S
from nemorouter.datadir.holders import Process, holders
from nemorouter.datadir.paths import DataDir
from nemorouter.log import get_logger

_MASTER: Final = NAME + "master"
_LOOK_S: Final = 0.05
_KILLED_S: Final = 2.0
"""The time for which killed processes are waited for; whatever fails later names them."""

_log = get_logger(__name__)


def end(data: DataDir) -> None:
    """Wait until the orphans of this data directory have ended, and kill those that do not."""
    patience = time.monotonic() + ORPHAN_S + 1
    while (found := find(data)) and time.monotonic() < patience + _KILLED_S:
        if time.monotonic() > patience:
            for process in found:
                _kill(data, process)
        time.sleep(_LOOK_S)


def find(data: DataDir) -> list[Process]:
    """List the processes that hold a lock of this data directory and whose master is gone."""
    return [process for process in _children(data) if _is_orphan(process)]


def _children(data: DataDir) -> list[Process]:
    """List the processes of ``serve`` below a master that hold a lock of this data directory."""
    found = {process.pid: process for path in data.locks for process in holders(path)}
    names = (NAME + "worker", NAME + "drainer", NAME + "control")
    return [process for process in found.values() if process.name in names]


def _is_orphan(process: Process) -> bool:
    """Report whether no process above this one is a master."""
    parent = Process.look(process.parent)
    while parent is not None and parent.name.startswith(NAME):
        if parent.name == _MASTER:
            return False
        parent = Process.look(parent.parent)
    return True


def _kill(data: DataDir, process: Process) -> None:
    with suppress(OSError):  # it ended just now
        descriptor = os.pidfd_open(process.pid)
        try:
            if process in find(data):  # and is the same still, not another of its number
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                _log.warning("orphan_killed", pid=process.pid, command=process.command)
        finally:
            os.close(descriptor)
