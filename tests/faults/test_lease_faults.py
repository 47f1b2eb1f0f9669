"""Test hosts in processes of their own on a Redis with faults.

It is flushed, killed, frozen, slow, promoted, and hard to reach. The limit holds over all hosts in
every window, whatever happens, and service comes back by itself.
"""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.leases.fleet import Fleet, Outcome, worst
from tests.support.leases.redis_proxy import RedisProxy
from tests.support.oracle import issued
from tests.support.redis_server import RedisServer
from tests.support.servers import until

LIMIT = 6_000
BURST = 300
RATES = [60.0, 60.0, 20.0]
EPOCH = "nemo:{1}:epoch"
SECONDS = 12.0


def ripen(redis: RedisServer) -> None:
    """Its data count as old, so that the bucket begins full."""
    redis.cli("SET", EPOCH, "1700000000000000")


def run(
    folder: Path, redis: RedisServer, harm: Callable[[Fleet], None], url: str | None = None
) -> tuple[Fleet, Outcome]:
    """Run a fleet under load, and harm it after three seconds."""
    ripen(redis)
    with Fleet(folder, url or redis.url, RATES, SECONDS, LIMIT, burst=BURST) as fleet:
        fleet.wait(3)
        harm(fleet)
    return fleet, fleet.outcome()


def resumed(fleet: Fleet, outcome: Outcome, last_s: float = 2.0) -> None:
    """In the last seconds nearly all was admitted that the limit lets flow in, or was asked for."""
    since = fleet.end_us - int(last_s * 1e6)
    late = sum(tokens for _, after, tokens in outcome.admissions if after >= since)
    assert late >= 0.8 * issued(LIMIT, int(last_s * 1e6)), outcome.verdicts


def test_flushed(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as redis:
        fleet, outcome = run(tmp_path, redis, lambda _: print(redis.cli("FLUSHALL")))
    assert worst(outcome.admissions, LIMIT) <= BURST
    resumed(fleet, outcome)


def test_killed_and_started_empty(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as redis:

        def harm(_: Fleet) -> None:
            redis.kill()
            time.sleep(1)
            redis.start()

        fleet, outcome = run(tmp_path, redis, harm)
    assert worst(outcome.admissions, LIMIT) <= BURST
    resumed(fleet, outcome)


def test_frozen_for_five_seconds(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as redis:

        def harm(_: Fleet) -> None:
            redis.signal(signal.SIGSTOP)
            time.sleep(5)
            redis.signal(signal.SIGCONT)

        fleet, outcome = run(tmp_path, redis, harm)
    assert worst(outcome.admissions, LIMIT) <= BURST
    resumed(fleet, outcome)
    frozen = [
        after
        for _, after, _ in outcome.admissions
        if fleet.begin_us + 6e6 < after < fleet.begin_us + 7.5e6
    ]
    assert not frozen, "nobody may spend when its lease has run out"


def test_two_seconds_slow(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as redis, RedisProxy(redis.port) as proxy:

        def harm(_: Fleet) -> None:
            proxy.delay_s = 1.0
            time.sleep(5)
            proxy.delay_s = 0.0

        fleet, outcome = run(tmp_path, redis, harm, f"redis://127.0.0.1:{proxy.port}/0")
    assert worst(outcome.admissions, LIMIT) <= BURST
    resumed(fleet, outcome)


def test_replies_lost_and_calls_made_twice(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as redis, RedisProxy(redis.port) as proxy:
        proxy.lose = 0.1
        proxy.repeat = 0.3
        _, outcome = run(tmp_path, redis, lambda _: None, f"redis://127.0.0.1:{proxy.port}/0")
    assert proxy.lost > 5
    assert proxy.repeated > 20
    assert worst(outcome.admissions, LIMIT) <= BURST
    assert outcome.admitted >= 0.7 * (BURST + issued(LIMIT, int(SECONDS * 1e6)))


@pytest.mark.parametrize("lag_s", [0.5])
def test_failed_over_to_a_lagging_replica(tmp_path: Path, lag_s: float) -> None:
    """Grant twice at most what the replica had not received, and only once.

    Then hosts report what they hold.
    """
    with (
        RedisServer(tmp_path / "redis") as redis,
        RedisServer(tmp_path / "replica", "--replicaof", "127.0.0.1", str(redis.port)) as replica,
        RedisProxy(redis.port) as proxy,
    ):
        until(lambda: "master_link_status:up" in replica.cli("INFO", "replication"), 20)

        def harm(_: Fleet) -> None:
            replica.signal(signal.SIGSTOP)  # it hears nothing more
            time.sleep(lag_s)
            redis.kill()
            replica.signal(signal.SIGCONT)
            replica.cli("REPLICAOF", "NO", "ONE")
            proxy.turn(replica.port)

        fleet, outcome = run(tmp_path, redis, harm, f"redis://127.0.0.1:{proxy.port}/0")
    most = BURST + issued(LIMIT, int(lag_s * 1e6)) + len(RATES) * BURST // 20
    assert worst(outcome.admissions, LIMIT) <= most
    assert outcome.admitted <= BURST + issued(LIMIT, int(SECONDS * 1e6)) + issued(
        LIMIT, int(lag_s * 1e6)
    )
    resumed(fleet, outcome)
