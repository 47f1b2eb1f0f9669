"""Test four hosts of two workers on a real Redis, without HTTP.

They ask for more than a large limit gives: no window takes more than the limit allows, nearly all
of it is used, and Redis is asked seldom.
"""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nemorouter.cluster.rates.redis_bank import RedisBank
from nemorouter.cluster.rates.terms import Terms
from nemorouter.cluster.redis import connect
from tests.support.leases.fleet import Fleet, worst
from tests.support.oracle import issued
from tests.support.redis_server import RedisServer

SECONDS = 12.0
EVEN = (0.25, 0.25, 0.25, 0.25)
SKEWED = (0.7, 0.2, 0.09, 0.01)


@pytest.fixture
def old(tmp_path: Path) -> Iterator[RedisServer]:
    """Run a Redis that has remembered everything for long: buckets begin full."""

    async def begin(url: str) -> None:
        client = connect(url)
        await RedisBank(client, "nemo", Terms()).begin()
        await client.aclose()

    with RedisServer(tmp_path / "redis") as redis:
        asyncio.run(begin(redis.url))
        for name in redis.cli("KEYS", "*:epoch").split():
            redis.cli("SET", name, "1700000000000000")
        yield redis


@pytest.mark.parametrize(
    ("limit", "burst", "most_calls", "shares"),
    [
        pytest.param(60, 60, 2.0, EVEN, id="60-even"),
        pytest.param(60_000, 1_000, 0.1, SKEWED, id="60000-skewed"),
        pytest.param(60, 60, 2.0, SKEWED, id="60-skewed", marks=pytest.mark.campaign),
        pytest.param(60_000, 1_000, 0.1, EVEN, id="60000-even", marks=pytest.mark.campaign),
    ],
)
def test_hosts_share_one_limit(
    tmp_path: Path,
    old: RedisServer,
    limit: int,
    burst: int,
    most_calls: float,
    shares: tuple[float, ...],
) -> None:
    """Twice the limit is asked for, or twenty a second: workers of a host ask alike."""
    offered = max(2 * limit / 60, 20)
    fleet = Fleet(
        tmp_path / "fleet",
        old.url,
        [offered * share / 2 for share in shares],
        SECONDS,
        limit,
        burst=burst,
    )
    with fleet:
        pass
    outcome = fleet.outcome()
    possible = burst + issued(limit, int(SECONDS * 1e6))
    used = outcome.admitted / min(possible, outcome.verdicts["offered"])
    calls = outcome.calls / outcome.verdicts["offered"]
    sys.stdout.write(f"{outcome.verdicts} {used:.3f} used, {calls:.4f} calls of Redis a request\n")
    assert worst(outcome.admissions, limit) <= burst
    assert used >= 0.95
    assert calls <= most_calls
    # Who cannot be served is told so, and does not wait for a lease that never comes.
    assert outcome.verdicts.get("LEASE_WANTED", 0) <= 0.05 * outcome.verdicts["offered"]
