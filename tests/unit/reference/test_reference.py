"""The reference, and what both modules export as functions, against known answers."""

from types import ModuleType
from typing import Any

import pytest

from nemorouter.reference.bucket import Bucket
from nemorouter.reference.cost import cost
from nemorouter.reference.headers import go_duration
from nemorouter.reference.windows import window_at, window_days, window_start_ms
from nemorouter.types import RATES, Duration, ModelPrice

Vectors = dict[str, Any]


def test_digests(gate_module: ModuleType, vectors: Vectors) -> None:
    for case in vectors["digests"]:
        pepper = bytes.fromhex(case["pepper_hex"])
        assert gate_module.hash_key(case["key"], pepper).hex() == case["digest_hex"]
        assert gate_module.hash_key(case["key"].encode(), pepper).hex() == case["digest_hex"]


def test_authorization_values(gate_module: ModuleType, vectors: Vectors) -> None:
    for case in vectors["authorization"]:
        assert gate_module.parse_key(case["value"]) == case["key"], case["value"]
        assert gate_module.parse_key(case["value"].encode()) == case["key"], case["value"]


def test_costs(vectors: Vectors) -> None:
    for case in vectors["costs"]:
        price = ModelPrice(model="m", version=1, **case["price"])
        cached = min(case["cached"], case["input"])
        assert cost(price, case["input"], cached, case["output"], case["units"]) == case["nano"], (
            case
        )


def test_windows(vectors: Vectors) -> None:
    for case in vectors["windows"]:
        for duration in (Duration.DAILY, Duration.WEEKLY, Duration.MONTHLY):
            window = window_at(duration, case["wall_ms"])
            assert window == (duration, case[duration.name.lower()]), case
            first, end = window_days(window)
            assert first <= case["wall_ms"] // 86_400_000 < end
            assert window_at(duration, window_start_ms(window)) == window
            assert window_at(duration, window_start_ms(window) - 1) == (duration, window[1] - 1)
        assert window_at(Duration.TOTAL, case["wall_ms"]) == (Duration.TOTAL, 0)


def test_go_durations(vectors: Vectors) -> None:
    for case in vectors["durations"]:
        assert go_duration(case["us"]) == case["text"], case


def place(name: str) -> int:
    """Return the place of a rate in the table."""
    return [rate.name for rate in RATES].index(name)


def test_buckets(vectors: Vectors) -> None:
    for case in vectors["buckets"]:
        bucket = Bucket(case["limit"], case["burst"], place(case["rate"]))
        for step in case["steps"]:
            match step["op"]:
                case "take":
                    assert bucket.take(step["n"], step["at_us"]) is step["ok"], step
                case "give":
                    bucket.give(step["n"])
                case "owe":
                    bucket.owe(step["n"], step["at_us"])
                case "remaining":
                    assert bucket.remaining(step["at_us"]) == step["tokens"], step
                case "wait":
                    assert bucket.wait_us(step["n"], step["at_us"]) == step["us"], step
                case "full":
                    assert bucket.full_us(step["at_us"]) == step["us"], step
                case other:
                    pytest.fail(f"unknown step {other}")


def test_buckets_of_both(gate_module: ModuleType, vectors: Vectors) -> None:
    for case in vectors["buckets"]:
        bucket = gate_module.Bucket(case["limit"], case["burst"], place(case["rate"]))
        for step in case["steps"]:
            if step["op"] == "take":
                assert bucket.take(step["n"], step["at_us"]) is step["ok"], step
            elif step["op"] == "give":
                bucket.give(step["n"])
            elif step["op"] == "owe":
                bucket.owe(step["n"], step["at_us"])
            elif step["op"] == "remaining":
                assert bucket.remaining(step["at_us"]) == step["tokens"], step
            elif step["op"] == "wait":
                assert bucket.wait_us(step["n"], step["at_us"]) == step["us"], step
            elif step["op"] == "full":
                assert bucket.full_us(step["at_us"]) == step["us"], step


@pytest.mark.parametrize("hours", [0, 1, 2, 24, 10_001])
def test_a_bucket_begins_full_whatever_the_uptime(gate_module: ModuleType, hours: int) -> None:
    now_us = hours * 3_600_000_000
    bucket = gate_module.Bucket(10**9)
    assert bucket.take(10**9, now_us)
    assert not bucket.take(1, now_us)
    assert gate_module.Bucket(10**9).remaining(now_us) == 10**9
