"""Test that the bank's Lua on a real server equals its model, in every answer and field.

It never holds more than fits.
"""

from collections.abc import Iterator
from struct import unpack
from typing import Any

import pytest
import redis
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from nemorouter.cluster.rates.messages import RateRequest, replies
from nemorouter.cluster.scripts import Script
from tests.support.leases.bank import Bank, State
from tests.support.redis_server import RedisServer

TTL = 2_000_000
FIELDS = {
    b"1": ("balance", "outstanding", "refilled", "share", "limit", "burst", "version"),
    b"2": ("living", "look", "starved", "room", "room_before", "slot", "slot_before"),
}
KEYS = ["nemo:{1}:epoch", "nemo:{1}:bucket:key:1:tpm", "nemo:{1}:use:2026-01-01:key:1"]
START = 1_767_225_600_000_000

amounts = st.one_of(st.integers(0, 40), st.integers(0, 300_000_000_000))
steps = st.fixed_dictionaries(
    {
        "pass": st.sampled_from(
            [
                0,
                1,
                17,
                90_000,
                500_000,
                1_100_000,
                2_100_000,
                7_000_000,
                400_000_000,
                49_999_999_999,
                -3_000_000,
            ]
        ),
        "nonce": st.integers(1, 3),
        "again": st.booleans(),
        "stale_epoch": st.booleans(),
        "place": st.one_of(st.just("kept"), amounts),
        "spent": amounts,
        "refunded": amounts,
        "age": st.sampled_from([0, 100_000, 900_000, 1_500_000, 5_000_000]),
        "need": amounts,
        "demand": amounts,
        "target": amounts,
        "bye": st.booleans(),
        "lose": st.sampled_from(["", "", "", "", "", "", "all", "bucket"]),
        "limit": st.sampled_from([0, 1, 7, 60, 60_000, 999_999_937, 1_000_000_000, 99_999_999_977]),
        "burst": st.sampled_from([1, 60, 1000, 60_000, 1_000_000_000, 100_000_000_000]),
        "version": st.integers(1, 2),
        "full_in": st.sampled_from(["none", "none", "old", "present"]),
    }
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator["redis.Redis"]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        client = redis.Redis.from_url(running.url)
        yield client
        client.close()


class Twins:
    """The bank in Lua and its model, which get the same requests."""

    def __init__(self, client: "redis.Redis", period: int) -> None:
        client.flushall()
        self.period = period
        self.client = client
        self.bank = Bank(TTL)
        self.now = START
        self.script = client.register_script(Script("sync").text)
        self.kept: dict[int, tuple[int, int]] = {}

    def step(self, step: dict[str, Any]) -> None:
        self.now += step["pass"]
        if step["lose"] == "all":
            self.client.flushall()
            self.bank.flush()
        elif step["lose"] == "bucket":
            self.client.delete(KEYS[1])
            self.bank.buckets.clear()
        ask = self.ask(step)
        full_in = {"none": 0, "old": 1, "present": self.bank.epoch or self.now}[step["full_in"]]
        expected = self.bank.sync(1, ask, self.now, full_in)
        answer: Any = self.script(KEYS, [self.now, TTL, 50, *ask.arguments(), full_in])
        now, found = replies(answer)
        assert now == self.now
        assert found[0] == expected
        self.kept[ask.nonce] = (expected.sequence, expected.place)
        self.compare(self.bank.buckets[1])

    def ask(self, step: dict[str, Any]) -> RateRequest:
        nonce = step["nonce"]
        sequence, place = self.kept.get(nonce, (0, 0))
        return RateRequest(
            nonce=nonce,
            sequence=max(1, sequence + (0 if step["again"] else 1)),
            epoch=0 if step["stale_epoch"] or self.bank.epoch is None else self.bank.epoch,
            place=place if step["place"] == "kept" else step["place"],
            spent=step["spent"],
            refunded=step["refunded"],
            refunded_at=self.now - step["age"],
            period=self.period,
            **{
                name: step[name]
                for name in ("need", "demand", "target", "bye", "limit", "burst", "version")
            },
        )

    def compare(self, state: State) -> None:
        found: Any = self.client.hgetall(KEYS[1])
        for name, fields in FIELDS.items():
            assert unpack("<7d", found.pop(name)) == tuple(
                getattr(state, field) for field in fields
            ), fields
        holders = {int(name[2:]): unpack("<5dc", packed) for name, packed in found.items()}
        assert holders == {
            nonce: (
                *(e.granted, e.spent, e.refunded, e.sequence, e.till),
                b"D" if not e.alive else b"V" if e.void else b"A",
            )
            for nonce, e in state.holders.items()
        }
        assert state.balance + state.outstanding <= state.burst
        assert all(entry.left >= 0 for entry in state.holders.values())
        assert self.client.pttl(KEYS[1]) >= 299_000


@settings(max_examples=150, phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink])
@given(
    period=st.sampled_from([60_000_000, 86_400_000_000]),
    history=st.lists(steps, min_size=1, max_size=30),
)
def test_the_lua_equals_the_model(
    server: "redis.Redis", period: int, history: list[dict[str, Any]]
) -> None:
    twins = Twins(server, period)
    for step in history:
        twins.step(step)
