"""Test four hosts of two workers each and one key, without HTTP.

The limit is exact in every window, nearly all of it is used, and Redis is asked seldom.
"""

from pathlib import Path

import pytest

from tests.support.leases.fleet import Fleet, worst
from tests.support.oracle import issued
from tests.support.redis_server import RedisServer

EVEN = [300.0, 300.0, 300.0, 300.0]
SKEWED = [1200.0, 60.0, 20.0, 10.0]  # requests a second and worker
SECONDS = 10.0


@pytest.mark.parametrize("rates", [EVEN, SKEWED], ids=["even", "skewed"])
@pytest.mark.parametrize(
    ("limit", "burst", "scale", "calls", "use"),
    [
        pytest.param(60, 60, 0.05, 2.0, 0.95, id="small"),
        pytest.param(
            60_000, 2_000, 1.0, 0.1, 0.3, id="large"
        ),  # among other tests the load may come too late
        pytest.param(60_000, 2_000, 1.0, 0.1, 0.95, id="alone", marks=pytest.mark.campaign),
    ],
)
def test_one_limit_over_four_hosts(
    rates: list[float],
    limit: int,
    burst: int,
    scale: float,
    calls: float,
    use: float,
    tmp_path: Path,
) -> None:
    with RedisServer(tmp_path / "redis") as redis:
        redis.cli("SET", "nemo:{1}:epoch", "1700000000000000")  # the bucket begins full
        with Fleet(
            tmp_path, redis.url, [rate * scale for rate in rates], SECONDS, limit, burst=burst
        ) as fleet:
            fleet.wait(SECONDS)
        made = redis.cli("INFO", "commandstats")
    outcome = fleet.outcome()
    could = burst + issued(limit, int(SECONDS * 1e6))
    evals = int(made.split("cmdstat_evalsha:calls=")[1].split(",")[0])
    print(f"admitted {outcome.admitted} of {could}, {evals} calls, {outcome.verdicts}")
    assert worst(outcome.admissions, limit) <= burst
    assert outcome.admitted >= use * could - 2
    assert evals <= calls * outcome.admitted
