"""Measure each step of a decision, native gate and reference in turns.

Each benchmark checks the answer before the step is timed. A round runs the step a thousand times,
and ``benches.micro.report`` divides by that. The journal is drained between two rounds, untimed.
"""

from types import ModuleType
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benches.micro.pairs import Round, compare
from nemorouter.bench.world import CHAT, MODEL, OK, PEPPER, World, secret
from nemorouter.errors import Code
from nemorouter.types import MAX_LIMIT, per_rate

TIMES = 1_000
ROUNDS = 40
IP = "192.0.2.1"


def test_identify_admit_settle(benchmark: BenchmarkFixture) -> None:
    def make(module: ModuleType) -> Round:
        world = World(module)
        identify = world.gate.identify
        admit = world.gate.admit
        settle = world.gate.settle
        index = identify(world.headers[0], IP, CHAT)
        assert index >= 0
        assert world.settle(world.admit(index)) == 108_000

        def run() -> None:
            for header in world.headers:
                ticket = admit(identify(header, IP, CHAT), MODEL, CHAT, 0, 2_000, 100, 1, False)
                settle(ticket, 480, 0, 60, 200, OK, 250_000, 80_000)

        def check(rounds: int) -> None:
            assert world.journal.counters()["settled"] == rounds * TIMES + 1

        return Round(run, world.drain, check)

    compare(benchmark, make, TIMES, ROUNDS)


def test_identify(benchmark: BenchmarkFixture) -> None:
    def make(module: ModuleType) -> Round:
        world = World(module)
        identify = world.gate.identify
        for header in world.headers[:50]:
            assert world.arena.identity(identify(header, IP, CHAT)).id == int(header[-20:])

        def run() -> None:
            for header in world.headers:
                identify(header, IP, CHAT)

        return Round(run, world.drain)

    compare(benchmark, make, TIMES, ROUNDS)


def test_admit(benchmark: BenchmarkFixture) -> None:
    def make(module: ModuleType) -> Round:
        world = World(module)
        admit = world.gate.admit
        keys = [world.gate.identify(header, IP, CHAT) for header in world.headers]
        ticket = world.admit(keys[0])
        assert world.gate.reserved(ticket) == (500, 100)
        tickets = [ticket]

        def settle_all() -> None:
            for each in tickets:
                world.settle(each)
            tickets.clear()
            world.drain()

        def run() -> None:
            tickets.extend([admit(key, MODEL, CHAT, 0, 2_000, 100, 1, False) for key in keys])

        return Round(run, settle_all)

    compare(benchmark, make, TIMES, ROUNDS)


def test_settle(benchmark: BenchmarkFixture) -> None:
    def make(module: ModuleType) -> Round:
        world = World(module)
        settle = world.gate.settle
        keys = [world.gate.identify(header, IP, CHAT) for header in world.headers]
        assert world.settle(world.admit(keys[0])) == 108_000
        tickets: list[int] = []

        def admit_all() -> None:
            world.drain()
            tickets[:] = [world.admit(key) for key in keys]

        def run() -> None:
            for ticket in tickets:
                settle(ticket, 480, 0, 60, 200, OK, 250_000, 80_000)

        return Round(run, admit_all)

    compare(benchmark, make, TIMES, ROUNDS)


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        (Code.RATE_LIMIT_EXCEEDED, {"limits": per_rate(rpm=0)}),
        (Code.TPM_LIMIT_EXCEEDED, {"limits": per_rate(tpm=0)}),
        (Code.BUDGET_EXCEEDED, {"cap": 0}),
    ],
    ids=["429-rpm", "429-tpm", "402"],
)
def test_admit_refused(benchmark: BenchmarkFixture, code: Code, fields: dict[str, Any]) -> None:
    def make(module: ModuleType) -> Round:
        world = World(module, 10, **fields)
        admit = world.gate.admit
        key = world.gate.identify(world.headers[0], IP, CHAT)
        assert world.admit(key).code == code

        def run() -> None:
            for _ in range(TIMES):
                admit(key, MODEL, CHAT, 0, 2_000, 100, 1, False)

        def check(rounds: int) -> None:
            assert world.journal.counters()["admitted"] == 0

        return Round(run, world.drain, check)

    compare(benchmark, make, TIMES, ROUNDS)


@pytest.mark.parametrize(
    ("code", "header"),
    [
        (Code.KEY_UNKNOWN, f"Bearer {secret(9**19)}"),
        (Code.KEY_MALFORMED, "Bearer sk-nemo-short"),
        (Code.MISSING_API_KEY, None),
    ],
    ids=["401-unknown", "401-malformed", "401-missing"],
)
def test_identify_refused(benchmark: BenchmarkFixture, code: Code, header: str | None) -> None:
    def make(module: ModuleType) -> Round:
        world = World(module)
        identify = world.gate.identify
        assert identify(header, IP, CHAT) == -code

        def run() -> None:
            for _ in range(TIMES):
                identify(header, IP, CHAT)

        return Round(run, world.drain)

    compare(benchmark, make, TIMES, ROUNDS)


def test_rate_headers(benchmark: BenchmarkFixture) -> None:
    def make(module: ModuleType) -> Round:
        world = World(module)
        rate_headers = world.gate.rate_headers
        key = world.gate.identify(world.headers[0], IP, CHAT)
        assert rate_headers(key)[0] == ("x-ratelimit-limit-requests", str(MAX_LIMIT))

        def run() -> None:
            for _ in range(TIMES):
                rate_headers(key)

        return Round(run, world.drain)

    compare(benchmark, make, TIMES, ROUNDS)


def test_parse(benchmark: BenchmarkFixture) -> None:
    def make(module: ModuleType) -> Round:
        parse = module.parse_key
        header = f"Bearer {secret(7)}"
        assert parse(header) == secret(7)

        def run() -> None:
            for _ in range(TIMES):
                parse(header)

        return Round(run, lambda: None)

    compare(benchmark, make, TIMES, ROUNDS)


def test_hash(benchmark: BenchmarkFixture, vectors: dict[str, Any]) -> None:
    known = vectors["digests"][0]

    def make(module: ModuleType) -> Round:
        hash_key = module.hash_key
        pepper = bytes.fromhex(known["pepper_hex"])
        assert hash_key(known["key"], pepper).hex() == known["digest_hex"]
        key = secret(7)

        def run() -> None:
            for _ in range(TIMES):
                hash_key(key, PEPPER)

        return Round(run, lambda: None)

    compare(benchmark, make, TIMES, ROUNDS)


def test_bucket(benchmark: BenchmarkFixture) -> None:
    def make(module: ModuleType) -> Round:
        bucket = module.Bucket(60_000_000, 60_000_000)
        assert bucket.take(60_000_000, 0)
        assert not bucket.take(1, 0)
        assert bucket.take(1, 1)
        take = bucket.take

        def run() -> None:
            for now in range(10_000_000, 10_000_000 + TIMES):
                take(1, now)

        return Round(run, lambda: None)

    compare(benchmark, make, TIMES, ROUNDS)
