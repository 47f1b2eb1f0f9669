"""Run the measurements of ``nemorouter bench``.

They compare the gate with the same decision in pure Python, and the server with a handler that
answers a constant. They need nothing but the installed package: the load comes from this process,
and the data directory is temporary.
"""

import importlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Final

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
    Keys,
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
"""Seconds that starting, checking and the gate take, however long the whole may take."""
_RATES: Final = (500, 1000, 2000)
_GATE: Final = (("native", 1_000), ("reference", 1_000), ("native", 100_000))
_COST: Final = 108_000
_FLOOR_PATH: Final = "/unread"

Say = Callable[[str], None]
"""Report progress: called with a name before each of the ``steps()`` measurements."""


class GateTiming(msgspec.Struct, frozen=True):
    """Nanoseconds of CPU time for identify, admit and settle together, one value for each round."""

    by: str
    keys: int
    ns: list[float]


class Served(msgspec.Struct, frozen=True):
    """The CPU time of one kind of request, in microseconds, one value for each round.

    ``cpu_us`` counts the drainer and ``worker_us`` does not. ``ratio`` is ``cpu_us`` over the CPU
    time of a constant answer in the same round.
    """

    what: str
    cpu_us: list[float]
    worker_us: list[float]
    ratio: list[float]


class Paced(msgspec.Struct, frozen=True):
    """Latencies at a fixed rate, each counted from when its request was due.

    ``rate`` is in requests a second; ``kept`` tells whether the server kept it.
    """

    what: str
    rate: int
    kept: bool
    p50_us: float
    p99_us: float


class Result(msgspec.Struct, frozen=True):
    """All that ``nemorouter bench`` measures."""

    machine: Machine
    versions: dict[str, str]
    shared_core: bool
    """True if server and load shared the only core; then trust the ratios and not the times."""
    gate: list[GateTiming]
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
    """Return the number of measurements that ``measure`` reports to its ``say``."""
    return len(_GATE) + 1 + 5 * _ROUNDS + 2 * len(_RATES)


def measure(seconds: float, say: Say) -> Result:
    """Measure gate, server and latency in about ``seconds``.

    AssertionError if an answer is wrong: then there is no result.
    """
    spare = max(1.0, seconds - _FIXED_S)
    each = spare * 0.8 / (5 * _ROUNDS * 2)
    pace = spare * 0.2 / (2 * len(_RATES))
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


def _gate(say: Say) -> Iterator[GateTiming]:
    for by, keys in _GATE:
        say(f"the gate: {by}, {keys} keys")
        module = importlib.import_module(
            "nemorouter._core" if by == "native" else "nemorouter.reference"
        )
        world = World(module, keys)
        _round(world)  # a first round checks the cost and warms the caches
        rounds = 40 if by == "native" else 15
        yield GateTiming(by, keys, [_round(world) for _ in range(rounds)])


def _round(world: World) -> float:
    """Run each key of ``world`` once; return nanoseconds of CPU time a request."""
    world.drain()
    before = world.journal.counters()["settled"]
    identify = world.gate.identify
    admit = world.gate.admit
    settle = world.gate.settle
    cost = 0
    start = time.process_time_ns()
    for header in world.headers:
        index = identify(header, "192.0.2.1", CHAT_ENDPOINT)
        ticket = admit(index, MODEL, CHAT_ENDPOINT, 0, 2_000, 100, 1, False)
        cost += settle(ticket, 480, 0, 60, 200, OK, 250_000, 80_000)
    spent = time.process_time_ns() - start
    require(cost == _COST * len(world.headers), f"a gate charged {cost}")
    settled = world.journal.counters()["settled"] - before
    require(settled == len(world.headers), f"{settled} of {len(world.headers)} tickets settled")
    return spent / len(world.headers)


@contextmanager
def _servers(say: Say) -> Iterator[_Servers]:
    say("starting and checking the servers")
    with tempfile.TemporaryDirectory(prefix="nemorouter-bench-") as text, ExitStack() as stack:
        folder = Path(text)
        settings, keys = prepare(folder)
        port = free_port()
        ours = running(
            gateway(),
            port,
            is_ready,
            core=cores()[0],
            log=folder / "gateway.log",
            env=msgspec.structs.replace(settings, port=port).to_env(),
            cwd=folder,
        )
        floor_port = free_port()
        floor = running(
            granian("nemorouter.bench.constant:app", floor_port),
            floor_port,
            responds(_FLOOR_PATH),
            core=cores()[0],
            log=folder / "floor.log",
            cwd=folder,
        )
        servers = _Servers(stack.enter_context(floor), stack.enter_context(ours), _questions(keys))
        check_gateway(port, keys, settings)
        for question in servers.questions:
            _once(servers.gateway, question.payload, question.status, 0.1)
        yield servers


def _questions(keys: Keys) -> list[_Question]:
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
    """Measure floor and gateway in turns; the order alternates from round to round."""
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
    """Measure the CPU time of a request, in microseconds: of all processes, and of the workers."""
    pids = tree(up.pid)
    workers = [pid for pid in pids if not is_drainer(pid)]
    before = cpu_seconds(pids)
    before_workers = cpu_seconds(workers)
    answers = load(up.port, payload, status, seconds).answers
    require(answers > 0, f"no answer within {seconds:.1f} s")
    spent = cpu_seconds(pids) - before
    spent_workers = cpu_seconds(workers) - before_workers
    return spent / answers * 1e6, spent_workers / answers * 1e6


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
