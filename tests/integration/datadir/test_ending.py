"""A process ends in time, whatever it is doing: after SIGTERM, and after the end of its master."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from nemorouter._core import watch_for_end

_HEAD = """
import os, select, signal, sys
from nemorouter._core import watch_for_end
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
told = watch_for_end([int(pid) for pid in sys.argv[1:]], 1.5, 1.0)
print("listening", flush=True)
"""
_HUNG = _HEAD + "pow(3, 10**9)  # with the interpreter's lock, for minutes"
_TELLS = (
    _HEAD
    + "while True:\n    select.select([told], [], [])\n"
    + "    print(os.read(told, 1).decode(), flush=True)"
)

Process = subprocess.Popen[str]
Start = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a program that listens for its end, with the numbers of its masters."""
    running: list[Process] = []

    def begin(program: str, *masters: int) -> Process:
        command = [sys.executable, "-c", program, *map(str, masters)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def master() -> Iterator[Process]:
    """Start a process that does nothing."""
    process = subprocess.Popen(["sleep", "60"], text=True)
    yield process
    process.kill()
    process.communicate()


def killed_after(process: Process) -> float:
    """Seconds until the process is killed."""
    begun = time.monotonic()
    assert process.wait(20) == -signal.SIGKILL
    return time.monotonic() - begun


def output(process: Process) -> str:
    """All that the process prints until its end, from here on."""
    assert process.stdout is not None
    return process.stdout.read()


def test_a_process_that_hangs_is_killed_when_its_time_is_over(start: Start) -> None:
    process = start(_HUNG, os.getpid())
    process.terminate()
    assert 1.4 < killed_after(process) < 5


def test_a_process_that_hangs_does_not_outlive_its_master(start: Start, master: Process) -> None:
    process = start(_HUNG, os.getpid(), master.pid)
    master.kill()
    assert 0.9 < killed_after(process) < 5


def test_each_cause_is_told_once_and_further_signals_change_nothing(
    start: Start, master: Process
) -> None:
    process = start(_TELLS, os.getpid(), master.pid)
    for _ in range(3):
        process.terminate()
        time.sleep(0.05)
    master.kill()
    assert output(process) == "T\nP\n"
    assert process.wait(20) == -signal.SIGKILL


def test_a_master_that_is_gone_already_is_noticed(start: Start, master: Process) -> None:
    master.kill()
    master.communicate()
    process = start(_TELLS, os.getpid(), master.pid)
    assert output(process) == "P\n"


def test_a_number_that_no_process_can_have_is_refused() -> None:
    with pytest.raises(ValueError, match="no process has the number 0"):
        watch_for_end([0], 1, 1)
    with pytest.raises(ValueError, match="negative"):
        watch_for_end([1], -1, 1)
