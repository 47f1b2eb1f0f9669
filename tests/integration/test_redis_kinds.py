"""Test the bank of leases at a single Redis, behind sentinels, and in a cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from nemorouter.cluster.rates.messages import TAGS, BucketAddress, RateRequest
from nemorouter.cluster.rates.redis_bank import RedisBank
from nemorouter.cluster.rates.terms import Terms
from nemorouter.cluster.redis import connect
from nemorouter.types import Kind
from tests.support.redis_server import RedisServer
from tests.support.servers import free_port, until

BUCKETS = [
    BucketAddress(Kind.KEY, id, org, rate)
    for org in (1, 2, 300)
    for id in range(20)
    for rate in (0, 1)
]
ASK = RateRequest(
    nonce=5,
    sequence=1,
    epoch=0,
    place=0,
    spent=0,
    refunded=0,
    refunded_at=0,
    need=1,
    demand=3,
    target=3,
    bye=False,
    limit=60,
    period=60_000_000,
    burst=60,
    version=1,
)


@contextmanager
def single(folder: Path) -> Iterator[str]:
    with RedisServer(folder) as redis:
        yield redis.url


@contextmanager
def sentinels(folder: Path) -> Iterator[str]:
    with RedisServer(folder / "master") as master:
        config = folder / "sentinel.conf"
        config.write_text(f"sentinel monitor limits 127.0.0.1 {master.port} 1\n")
        with RedisServer(folder, sentinel=config) as sentinel:
            yield f"redis+sentinel://127.0.0.1:{sentinel.port}/limits/0"


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    made = RedisServer(folder, "--cluster-enabled", "yes")
    made.port = next(
        port for port in iter(free_port, 0) if port + 10_000 < 1 << 16
    )  # it talks to its like on that
    with made as node:
        assert node.cli("CLUSTER", "ADDSLOTS", *map(str, range(16_384))) == "OK"
        until(lambda: "cluster_state:ok" in node.cli("CLUSTER", "INFO"), 10)
        yield f"redis+cluster://127.0.0.1:{node.port}"


@pytest.mark.parametrize("kind", [single, sentinels, cluster], ids=lambda kind: kind.__name__)
async def test_tokens_are_lent_at_every_kind_of_redis(kind: object, tmp_path: Path) -> None:
    with kind(tmp_path) as url:  # type: ignore[operator]
        client = connect(url)
        bank = RedisBank(client, "nemo", Terms())
        await bank.begin()
        for tag in (1, 2, 300 % TAGS):  # all of them count as old, so that buckets begin full
            assert await client.set(f"nemo:{{{tag}}}:epoch", "1700000000000000", xx=True)
        batches = bank.batches(BUCKETS)
        assert sorted(place for batch in batches for place in batch) == list(range(len(BUCKETS)))
        assert max(len(batch) for batch in batches) <= 64
        for turn in (1, 2):
            ask = replace(ASK, sequence=turn, place=3 * turn - 3, spent=3 * turn - 3)
            for batch in batches:
                _, replies = await bank.sync([(BUCKETS[at], ask) for at in batch], [0] * len(batch))
                assert {(reply.place, reply.balance) for reply in replies} == {
                    (3 * turn, 60 - 3 * turn)
                }
        await client.aclose()
