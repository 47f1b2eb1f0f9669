"""Start a server pinned to a core, read its CPU time and memory from ``/proc``, and end it.

It works on Linux only, and never ends a process that it did not start.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

_START_S: Final = 60.0
_STOP_S: Final = 20.0


class Running(NamedTuple):
    """A server that runs: the id of its first process, its port, and the file of its log."""

    pid: int
    port: int
    log: Path


def cores() -> list[int]:
    """Return the numbers of the cores that this process may use, in order."""
    return sorted(os.sched_getaffinity(0))


def free_port() -> int:
    """Find a TCP port of this machine on which no process listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def tree(pid: int) -> list[int]:
    """Return ``pid`` and the ids of all its descendants."""
    found = [pid]
    for each in found:
        for task in _tasks(each):
            try:
                found += map(int, (task / "children").read_text().split())
            except OSError:
                continue
    return found


def cpu_seconds(pids: Sequence[int]) -> float:
    """Add up the CPU time of all threads of ``pids``, in seconds, exact to the nanosecond.

    A process that has ended counts as zero.
    """
    total = 0
    for pid in pids:
        for task in _tasks(pid):
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except OSError:
                continue
    return total / 1e9


def wait_until_quiet(pid: int, share: float = 0.05, patience_s: float = 60) -> bool:
    """Wait until ``pid`` and its descendants use less than ``share`` of a core for a second.

    Return False if they do not within ``patience_s`` seconds.
    """
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        before = cpu_seconds(tree(pid))
        time.sleep(1)
        if cpu_seconds(tree(pid)) - before < share:
            return True
    return False


def resident_bytes(pids: Sequence[int]) -> int:
    """Add up the resident memory of ``pids``, in bytes; a shared page counts in each process."""
    pages = 0
    for pid in pids:
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            continue
    return pages * os.sysconf("SC_PAGESIZE")


def is_drainer(pid: int) -> bool:
    """Tell whether ``pid`` is the drainer, the process that moves rows into the store."""
    try:
        return b"import drain" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


@contextmanager
def running(
    command: Sequence[str],
    port: int,
    ready: Callable[[int], bool],
    *,
    core: int | None,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[Running]:
    """Start a server, wait until ``ready(port)`` holds, and end it when the context ends.

    The server gets a session of its own, so that its descendants end with it. ``core`` pins all of
    them to one core. RuntimeError, with the end of the log, if the server does not start in time.
    """
    pinned = ["taskset", "-c", str(core), *command] if core is not None else list(command)
    with log.open("wb") as output:
        server = subprocess.Popen(
            pinned,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            _wait(server, port, ready, log)
            yield Running(server.pid, port, log)
        finally:
            _end(server)


def _wait(
    server: "subprocess.Popen[bytes]", port: int, ready: Callable[[int], bool], log: Path
) -> None:
    end = time.monotonic() + _START_S
    while True:
        if server.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"a server did not start: {tail(log)}")
        with suppress(OSError, ValueError):
            if ready(port):
                return
        time.sleep(0.05)


def tail(log: Path, characters: int = 600) -> str:
    """Return the last ``characters`` of a server's log, with its lines joined by spaces."""
    return " ".join(log.read_text("utf-8", "replace").split())[-characters:]


def _end(server: "subprocess.Popen[bytes]") -> None:
    """End a server by SIGTERM, then kill what is left of its session."""
    server.terminate()
    with suppress(subprocess.TimeoutExpired):
        server.wait(_STOP_S)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
