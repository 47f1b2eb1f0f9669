"""CPU of a worker per request, for rival servers and settings, interleaved in one run; prints ratios to the first case.

Each server is pinned to one core and the load to another. Only the worker's CPU time counts, so a busy machine blurs
the figures but does not decide them.

    python benches/load/probe.py            # Granian's settings, constant answers
    python benches/load/probe.py app        # the whole gateway against the floor
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from client import load, request

HERE = Path(__file__).parent
BODY = (
    b'{"model":"gpt-4o","messages":[{"role":"system","content":"You are a helpful assistant."},'
    b'{"role":"user","content":"Say hello to the world, and be brief about it."}],"max_tokens":16}'
)
SERVE_CORE, LOAD_CORE = 0, 1


class Case(NamedTuple):
    """What is measured: a server's command, the request, and the status that must come back."""

    name: str
    command: list[str]
    payload: bytes
    status: int = 200


def granian(target: str, port: int, *options: str) -> list[str]:
    """Granian with one worker, as ``serve`` starts it, but for ``options``."""
    base = ["--port", str(port), "--http", "1", "--no-ws", "--no-log", "--loop", "uvloop", "--working-dir", str(HERE)]
    return [sys.executable, "-m", "granian", *base, *options, target]


def settings_cases() -> list[Case]:
    """The constant handler that reads the body, under every setting that may matter."""
    variants = {
        "rsgi st": ["--interface", "rsgi", "--runtime-mode", "st"],
        "rsgi mt": ["--interface", "rsgi", "--runtime-mode", "mt"],
        "rsgi st rust tasks": ["--interface", "rsgi", "--runtime-mode", "st", "--task-impl", "rust"],
        "rsgi mt rust tasks": ["--interface", "rsgi", "--runtime-mode", "mt", "--task-impl", "rust"],
        "rsgi mt 2 threads": ["--interface", "rsgi", "--runtime-mode", "mt", "--runtime-threads", "2"],
        "rsgi st asyncio": ["--interface", "rsgi", "--runtime-mode", "st", "--loop", "asyncio"],
        "asgi st": ["--interface", "asginl", "--runtime-mode", "st"],
        "asgi mt": ["--interface", "asginl", "--runtime-mode", "mt"],
    }
    cases = []
    for name, options in variants.items():
        target = "constant_rsgi:app" if "rsgi" in name else "constant_asgi:app"
        cases.append(Case(name, granian(target, 0, *options), request("/read", BODY, "sk-nemo-" + "a" * 20)))
    cases.append(
        Case("rsgi st, body not read", granian("constant_rsgi:app", 0, *variants["rsgi st"]), request("/unread", BODY))
    )
    return cases


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process, to the nanosecond."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def children(pid: int) -> list[int]:
    """Direct children of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def running(command: list[str], port: int, env: dict[str, str] | None = None) -> Iterator[int]:
    """Start a server; answer the process that serves (its first child); end it afterwards."""
    at = command.index("--port") + 1
    command = [*command[:at], str(port), *command[at + 1 :]]
    server = subprocess.Popen(["taskset", "-c", str(SERVE_CORE), *command], env={**os.environ, **(env or {})})
    try:
        wait(lambda: bool(children(server.pid)) and listening(port))
        yield children(server.pid)[0]
    finally:
        server.terminate()
        server.wait(20)


def listening(port: int) -> bool:
    """Does an HTTP answer come back? (A listening socket alone does not mean that a worker runs.)"""
    try:
        load(port, request("/healthz", method="GET"), 200, 0.001, 1)
    except (OSError, AssertionError) as error:
        return isinstance(error, AssertionError)
    return True


def wait(ready: Callable[[], bool], seconds: float = 20) -> None:
    """Until ``ready`` says so; TimeoutError otherwise."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError("a server did not start")
        time.sleep(0.05)


def measure(
    cases: list[Case], rounds: int, seconds: float, env: dict[str, str] | None = None
) -> dict[str, list[float]]:
    """Microseconds of CPU per request, one figure a round and case; cases take turns. Same command, same server."""
    figures: dict[str, list[float]] = {case.name: [] for case in cases}
    os.sched_setaffinity(0, {LOAD_CORE})
    with ExitStack() as stack:
        servers: dict[tuple[str, ...], tuple[int, int]] = {}
        for case in cases:
            if tuple(case.command) not in servers:
                port = 18_200 + len(servers)
                servers[tuple(case.command)] = port, stack.enter_context(running(case.command, port, env))
            load(servers[tuple(case.command)][0], case.payload, case.status, 0.3)
        for _ in range(rounds):
            for case in cases:
                port, pid = servers[tuple(case.command)]
                before = cpu_seconds(pid)
                answers = load(port, case.payload, case.status, seconds).answers
                figures[case.name].append((cpu_seconds(pid) - before) / answers * 1e6)
    return figures


def report(figures: dict[str, list[float]], base: str) -> None:
    """Median CPU per request, and the median of the ratios to ``base``, round by round."""
    for name, values in figures.items():
        ratio = statistics.median(value / floor for value, floor in zip(values, figures[base], strict=True))
        print(f"{name:32} {statistics.median(values):8.1f} us  {ratio:6.3f}x")


def main() -> None:
    """Parse the arguments and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=["settings", "app"], default="settings")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.7)
    arguments = parser.parse_args()
    cases = settings_cases()
    report(measure(cases, arguments.rounds, arguments.seconds), cases[0].name)


if __name__ == "__main__":
    main()
