"""Measure one decision in memory: both gates, and the limiters of PyPI.

The cases are few keys and many, one hot key and all drawn evenly, one thread and two. A limiter
takes one request from one limit. A gate does all its work: it checks the key, takes requests,
tokens and money at four scopes, writes a slot and settles it.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import lru_cache
from types import ModuleType
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benches.micro.limiters import RIVALS, STEPS, WIDE, Step, gate, key_names
from benches.micro.pairs import Round, compare
from nemorouter.bench.world import CHAT, MODEL, World
from nemorouter.errors import Code

ROUNDS = 12
SIZES = (1_000, 100_000, 1_000_000)
SPREADS = ("hot", "even")


THREADS = pytest.mark.parametrize("threads", [1, 2], ids=["1 thread", "2 threads"])


@pytest.fixture
def on_all(threads: int) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Return a function that runs a round on all threads at once.

    Each thread is a pool of its own, for one pool might run both rounds in the same thread. Each
    has a core of its own where there are as many.
    """
    if threads == 1:
        yield lambda run: run()
        return
    cores = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        pools = [
            stack.enter_context(
                ThreadPoolExecutor(
                    1, initializer=os.sched_setaffinity, initargs=(0, {cores[number % len(cores)]})
                )
            )
            for number in range(threads)
        ]

        def together(run: Callable[[], None]) -> None:
            for done in [pool.submit(run) for pool in pools]:
                done.result()

        yield together


def measure(
    benchmark: BenchmarkFixture, run: Callable[[], Any], setup: Callable[[], Any], steps: int
) -> None:
    benchmark.extra_info["times"] = steps
    benchmark.pedantic(run, setup=setup, rounds=ROUNDS, warmup_rounds=1)  # type: ignore[no-untyped-call]


@THREADS
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("keys", SIZES)
def test_decide(
    benchmark: BenchmarkFixture,
    keys: int,
    spread: str,
    threads: int,
    on_all: Callable[[Callable[[], None]], None],
) -> None:
    def make(module: ModuleType) -> Round:
        run, world = gate(filled_gate(module, keys), spread)
        before = world.journal.counters()["settled"]

        def check(rounds: int) -> None:
            settled = world.journal.counters()["settled"] - before
            assert settled == STEPS * threads * rounds, "a step did not end in a settled ticket"

        return Round(lambda: on_all(run), world.drain, check)

    compare(benchmark, make, STEPS * threads, ROUNDS)


@THREADS
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("keys", SIZES)
@pytest.mark.parametrize("name", RIVALS)
def test_decide_rival(
    benchmark: BenchmarkFixture,
    name: str,
    keys: int,
    spread: str,
    threads: int,
    on_all: Callable[..., None],
) -> None:
    five = rival(name)(16, 5)
    assert [bool(five("a")) for _ in range(6)] == [True] * 5 + [False]
    assert five("b"), "another key has its own limit"
    step = filled_rival(name, keys)
    names = key_names(keys, spread)

    def run() -> None:
        for each in names:
            step(each)

    assert all(step(each) for each in names)
    measure(benchmark, lambda: on_all(run), lambda: None, STEPS * threads)


@lru_cache(maxsize=2)
def filled_gate(module: ModuleType, keys: int) -> World:
    """Return a gate with ``keys`` keys; two are kept, since one of a million keys is large."""
    return World(module, keys)


@lru_cache(maxsize=1)
def filled_rival(name: str, keys: int) -> Step:
    """Return a limiter that has decided once for each of ``keys`` keys."""
    step = rival(name)(keys, WIDE)
    for number in range(keys):
        step(f"key {number}")
    return step


@pytest.mark.parametrize("name", RIVALS)
def test_refuse_rival(benchmark: BenchmarkFixture, name: str) -> None:
    step = rival(name)(16, 5)
    for _ in range(6):
        step("a")
    assert not step("a")

    def run() -> None:
        for _ in range(STEPS):
            step("a")

    measure(benchmark, run, lambda: None, STEPS)
    assert not step("a")


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        (Code.KEY_REVOKED, {"status": 2}),
        (Code.KEY_EXPIRED, {"expires_ms": 1}),
        (Code.KEY_WRONG_IP, {"ips": ("198.51.100.0/24",)}),
        (Code.ENDPOINT_NOT_ALLOWED, {"endpoints": 1 << 3}),
        (Code.MODEL_NOT_ALLOWED, {"models": ("claude-*",)}),
    ],
    ids=["revoked", "expired", "address", "endpoint", "model"],
)
def test_refuse(benchmark: BenchmarkFixture, code: Code, fields: dict[str, Any]) -> None:
    def make(module: ModuleType) -> Round:
        world = World(module, 10, **fields)
        header = world.headers[0]
        identify = world.gate.identify
        admit = world.gate.admit
        index = identify(header, "192.0.2.1", CHAT)

        def run_identify() -> None:
            for _ in range(STEPS):
                identify(header, "192.0.2.1", CHAT)

        def run_admit() -> None:
            for _ in range(STEPS):
                admit(index, MODEL, CHAT, 0, 2_000, 100, 1, False)

        if index < 0:
            assert index == -code
            return Round(run_identify, world.drain)
        assert world.admit(index).code == code
        return Round(run_admit, world.drain)

    compare(benchmark, make, STEPS, ROUNDS)


def rival(name: str) -> Callable[[int, int], Step]:
    """Return the function that makes a limiter; skip the test if its package is missing."""
    module, make = RIVALS[name]
    pytest.importorskip(
        module, reason=f"{module} is not installed: pip install -r requirements/bench.txt"
    )
    return make
