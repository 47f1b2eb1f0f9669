"""CPU of a worker per request, for rival servers and settings, interleaved in one run; prints ratios to the first case.

Each server is pinned to one core and the load to another. Only the worker's CPU time counts, so a busy machine blurs
the figures but does not decide them.

    python benches/load/probe.py            # Granian's settings, constant answers
    python benches/load/probe.py app        # the whole gateway against the floor
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from client import load, request

from nemorouter.services import keys, owners
from nemorouter.services.bootstrap import bootstrap, local_actor
from nemorouter.services.budgets import NewBudget
from nemorouter.services.context import Context
from nemorouter.services.limits import NewScope
from nemorouter.settings import Settings
from nemorouter.store.engine import Store

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


def workers(pid: int) -> list[int]:
    """Workers of a master: its children, but for the gateway's drainer."""
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [child for child in found if b"import drain" not in Path(f"/proc/{child}/cmdline").read_bytes()]


@contextmanager
def running(command: list[str], port: int, env: dict[str, str] | None = None) -> Iterator[int]:
    """Start a server; answer the process that serves (its first child); end it afterwards."""
    at = command.index("--port") + 1
    command = [*command[:at], str(port), *command[at + 1 :]]
    environment = {**os.environ, **(env or {}), "NEMOROUTER_PORT": str(port)}
    server = subprocess.Popen(["taskset", "-c", str(SERVE_CORE), *command], env=environment, stdout=subprocess.DEVNULL)
    try:
        wait(lambda: bool(workers(server.pid)) and listening(port))
        yield workers(server.pid)[0]
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


def app_cases(key: str) -> list[Case]:
    """The whole gateway, everything on, against constant handlers under the same settings."""
    options = ["--interface", "rsgi", "--runtime-mode", "st"]
    constant = granian("constant_rsgi:app", 0, *options)
    program = "from nemorouter.serve import run; from nemorouter.settings import Settings; run(Settings.load())"
    gateway = [sys.executable, "-c", program, "--port", "0"]
    unknown = "sk-nemo-" + "x" * 20
    chat = "/v1/chat/completions"
    return [
        Case("constant, body read", constant, request(chat, BODY, key)),
        Case("gateway, echo", gateway, request(chat, BODY, key)),
        Case("constant, body not read", constant, request("/unread", BODY, key)),
        Case("gateway, 401", gateway, request(chat, BODY, unknown), 401),
    ]


async def limited_key(settings: Settings) -> str:
    """A key with RPM, TPM and a budget of its own and of its team, none of which a benchmark exhausts."""
    store = await Store.open(settings, migrate=True)
    await bootstrap(store, settings)
    context = await Context.attach(store, settings)
    budget = NewBudget(max_spend="1000000", duration="monthly")
    most = 10_000_000_000
    actor = await local_actor(context)
    await owners.create_team(context, actor, NewScope(name="bench", rpm=most, tpm=most, budget=budget))
    new = keys.NewKey(name="bench", team="bench", user="owner@localhost", rpm=most, tpm=most, budget=budget)
    created = await keys.create(context, actor, new)
    await store.close()
    return created.key


def main() -> None:
    """Parse the arguments and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=["settings", "app"], default="settings")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.7)
    arguments = parser.parse_args()
    if arguments.what == "settings":
        cases = settings_cases()
        report(measure(cases, arguments.rounds, arguments.seconds), cases[0].name)
        return
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), capacity=1000, log_level="error")
        cases = app_cases(asyncio.run(limited_key(settings)))
        figures = measure(cases, arguments.rounds, arguments.seconds, settings.to_env())
    for pair in (cases[:2], cases[2:]):
        report({case.name: figures[case.name] for case in pair}, pair[0].name)


if __name__ == "__main__":
    main()
