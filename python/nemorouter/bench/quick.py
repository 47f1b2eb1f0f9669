"""What ``nemorouter bench`` measures: the gate against pure Python, the server against a constant
answer.

It needs nothing but the installed package, and makes its own load and a data directory in a
temporary folder.
"""

import importlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec

from nemorouter.bench.check import check_gateway, require
from nemorouter.bench.client import load, paced, percentile, request
from nemorouter.bench.machine import Machine, machine
from nemorouter.bench.process import (
    Running,
    cores,
    cpu_seconds,
    free_port,
    is_drainer,
    running,
    tree,
)
from nemorouter.bench.servers import (
    BODY,
    CHAT,
    UNKNOWN_KEY,
    gateway,
    granian,
    is_ready,
    prepare,
    responds,
)
from nemorouter.bench.world import CHAT as CHAT_ENDPOINT
from nemorouter.bench.world import MODEL, OK, World

SECONDS: Final = 120.0
LEAST_SECONDS: Final = 20.0
_ROUNDS: Final = 5
_FIXED_S: Final = 25.0
"""What starting, checking and the gate take, whatever is asked for."""
_RATES: Final = (500, 1000, 2000)
_GATE: Final = (("native", 1_000), ("reference", 1_000), ("native", 100_000))
_COST: Final = 108_000
_FLOOR_PATH: Final = "/unread"

Say = Callable[[str], None]
"""Told before each of ``steps`` things, by its name."""


class Step(msgspec.Struct, frozen=True):
    """identify + admit + settle in memory: nanoseconds of CPU, a value a round."""

    by: str
    keys: int
    ns: list[float]


class Served(msgspec.Struct, frozen=True):
    """A kind of request: microseconds of CPU, of the worker and with the drainer, and over the
    constant beside it.
    """

    what: str
    cpu_us: list[float]
    worker_us: list[float]
    ratio: list[float]


class Paced(msgspec.Struct, frozen=True):
    """Latency at a fixed rate, counted from when each request was due, in microseconds."""

    what: str
    rate: int
    kept: bool
    p50_us: float
    p99_us: float


class Result(msgspec.Struct, frozen=True):
    """Everything."""

    machine: Machine
    versions: dict[str, str]
    shared_core: bool
    """Server and load had to share the only core: then only ratios say anything."""
    gate: list[Step]
    served: list[Served]
    latency: list[Paced]


class _Question(msgspec.Struct, frozen=True):
    what: str
    payload: bytes
    status: int
    floor: str = CHAT


class _Servers(msgspec.Struct, frozen=True):
    floor: Running
    gateway: Running
    questions: list[_Question]


def steps() -> int:
    """How many things ``measure`` does, for a progress bar."""
    return len(_GATE) + 1 + 5 * _ROUNDS + 2 * len(_RATES)


def measure(seconds: float, say: Say) -> Result:
    """All of it, in about ``seconds``. AssertionError when an answer is wrong: then nothing was
    measured.
    """
    spare = max(1.0, seconds - _FIXED_S)
    each, pace = spare * 0.8 / (5 * _ROUNDS * 2), spare * 0.2 / (2 * len(_RATES))
    with _on_core(cores()[-1]):
        gate = list(_gate(say))
        with _servers(say) as servers:
            served = [_pairs(servers, question, each, say) for question in servers.questions]
            latency = list(_latency(servers, pace, say))
    versions = {name: version(name) for name in ("nemorouter", "granian", "uvloop")}
    return Result(machine(), versions, len(cores()) < 2, gate, served, latency)


@contextmanager
def _on_core(core: int) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _gate(say: Say) -> Iterator[Step]:
    for by, keys in _GATE:
        say(f"the gate: {by}, {keys} keys")
        module = importlib.import_module(
            "nemorouter._core" if by == "native" else "nemorouter.reference"
        )
        world = World(module, keys)
        _round(world)  # checked, and warm
        rounds = 40 if by == "native" else 15
        yield Step(by, keys, [_round(world) for _ in range(rounds)])


def _round(world: World) -> float:
    world.drain()
    before = world.journal.counters()["settled"]
    identify, admit, settle = world.gate.identify, world.gate.admit, world.gate.settle
    cost, start = 0, time.process_time_ns()
    for header in world.headers:
        ticket = admit(
            identify(header, "192.0.2.1", CHAT_ENDPOINT),
            MODEL,
            CHAT_ENDPOINT,
            0,
            2_000,
            100,
            1,
            False,
        )
        cost += settle(ticket, 480, 0, 60, 200, OK, 250_000, 80_000)
    spent = time.process_time_ns() - start
    require(cost == _COST * len(world.headers), f"a gate charged {cost}")
    require(
        world.journal.counters()["settled"] - before == len(world.headers),
        "a ticket was not settled",
    )
    return spent / len(world.headers)


@contextmanager
def _servers(say: Say) -> Iterator[_Servers]:
    say("starting and checking the servers")
    with tempfile.TemporaryDirectory(prefix="nemorouter-bench-") as text, ExitStack() as stack:
        folder, core = Path(text), cores()[0]
        settings, keys = prepare(folder)
        port, floor_port = free_port(), free_port()
        env = msgspec.structs.replace(settings, port=port).to_env()
        ours = running(
            gateway(), port, is_ready, core=core, log=folder / "gateway.log", env=env, cwd=folder
        )
        constant = granian("nemorouter.bench.constant:app", floor_port)
        ready = responds(_FLOOR_PATH)
        floor = running(
            constant, floor_port, ready, core=core, log=folder / "floor.log", cwd=folder
        )
        servers = _Servers(stack.enter_context(floor), stack.enter_context(ours), _questions(keys))
        check_gateway(port, keys, settings)
        for question in servers.questions:
            _once(servers.gateway, question.payload, question.status, 0.1)
        yield servers


def _questions(keys: Any) -> list[_Question]:  # noqa: ANN401 - servers.Keys
    return [
        _Question("key checked, logged", request(CHAT, BODY, keys.free), 200),
        _Question("+ requests and tokens a minute", request(CHAT, BODY, keys.limited), 200),
        _Question("+ budgets: everything on", request(CHAT, BODY, keys.everything), 200),
        _Question("over the limit: 429", request(CHAT, BODY, keys.none), 429),
        _Question(
            "unknown key: 401, body unread", request(CHAT, BODY, UNKNOWN_KEY), 401, _FLOOR_PATH
        ),
    ]


def _pairs(servers: _Servers, question: _Question, seconds: float, say: Say) -> Served:
    """Floor and gateway in turn; the order alternates."""
    constant = request(question.floor, BODY, UNKNOWN_KEY)
    found: list[tuple[float, float]] = []
    floors: list[float] = []
    for number in range(_ROUNDS):
        say(f"the server: {question.what}")
        if number % 2:
            floors.append(_once(servers.floor, constant, 200, seconds)[0])
        found.append(_once(servers.gateway, question.payload, question.status, seconds))
        if not number % 2:
            floors.append(_once(servers.floor, constant, 200, seconds)[0])
    ratios = [mine[0] / floor for mine, floor in zip(found, floors, strict=True)]
    return Served(question.what, [each[0] for each in found], [each[1] for each in found], ratios)


def _once(up: Running, payload: bytes, status: int, seconds: float) -> tuple[float, float]:
    """Microseconds of CPU a request: of all processes, and without the drainer."""
    pids = tree(up.pid)
    workers = [pid for pid in pids if not is_drainer(pid)]
    before, before_workers = cpu_seconds(pids), cpu_seconds(workers)
    answers = load(up.port, payload, status, seconds).answers
    require(answers > 0, f"no answer within {seconds:.1f} s")
    return (cpu_seconds(pids) - before) / answers * 1e6, (
        cpu_seconds(workers) - before_workers
    ) / answers * 1e6


def _latency(servers: _Servers, seconds: float, say: Say) -> Iterator[Paced]:
    everything = next(question for question in servers.questions if "everything" in question.what)
    cases: Sequence[tuple[str, Running, bytes]] = (
        ("constant", servers.floor, request(CHAT, BODY, UNKNOWN_KEY)),
        ("everything on", servers.gateway, everything.payload),
    )
    for what, up, payload in cases:
        for rate in _RATES:
            say(f"latency at {rate} a second: {what}")
            found = paced(up.port, payload, 200, seconds, rate)
            p50, p99 = (percentile(found.latencies, share) * 1e6 for share in (0.5, 0.99))
            yield Paced(what, rate, found.seconds < seconds * 1.05 + 0.1, p50, p99)
