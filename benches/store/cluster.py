"""What one Redis and one PostgreSQL pay for many hosts: the figures from which ``docs/scaling.md``
is computed.

python -m benches.store.cluster [--buckets 20000] [--rows 40000]

CPU time of all processes of each, as the kernel counts it, so that other work on the machine
disturbs little; and what a bucket takes in Redis's memory, and a row on PostgreSQL's disk.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from nemorouter import log, snapshot
from nemorouter.bench.process import cpu_seconds, tree
from nemorouter.cluster import bank
from nemorouter.cluster.holder import Terms
from nemorouter.cluster.ledger import BATCH, Ask, Bucket
from nemorouter.cluster.redis import connect
from nemorouter.cluster.redis_bank import RedisBank
from nemorouter.cluster.registry import Registry
from nemorouter.datadir import DataDir
from nemorouter.services.clock import now_ms
from nemorouter.store.policies import change_seq
from nemorouter.store.sums import DAY_MS
from nemorouter.types import Kind, Outcome, Status
from tests.faults.world import KEY, ORG, TEAM, USER, World
from tests.integration.backends import PostgresServer
from tests.integration.fleet import RedisServer

ROUNDS = 300
LOT = 1000  # rows of one drain
KEYS = 500
ENDED = (Outcome.OK, 1, 10, 2, 3, 5, 9, 1500, None)


def told(what: str, value: float, unit: str) -> None:
    print(f"{what:<62} {value:>10,.2f} {unit}", flush=True)


class Meter:
    """CPU time of a server and all that it started."""

    def __init__(self, pid: int) -> None:
        self._root = pid

    async def per(self, times: int, work: Callable[[], Awaitable[None]]) -> float:
        """Microseconds for one of ``times``."""
        before = cpu_seconds(tree(self._root))
        await work()
        return (cpu_seconds(tree(self._root)) - before) / times * 1_000_000


def an_ask(nonce: int, sequence: int, want: int, spent: int) -> Ask:
    return Ask(
        nonce=nonce,
        sequence=sequence,
        epoch=0,
        place=0,
        spent=spent,
        refunded=0,
        refunded_at=0,
        need=0,
        demand=0,
        want=want,
        bye=False,
        limit=60_000,
        burst=60_000,
        version=1,
    )


async def leases(client: Redis, server: Meter, count: int) -> None:
    """Grants: a call for one bucket, for a full batch; bytes a bucket with one holder and with
    four.
    """
    made = RedisBank(client, "bench", Terms())
    await made.begin()
    await asyncio.sleep(
        2 * Terms().ttl / 1_000_000
    )  # a bank that lost its memory begins empty, and so does a new one
    buckets = [Bucket(int(Kind.KEY), number, number % 1000, 0) for number in range(count)]
    _, (reply,) = await made.sync([(buckets[0], an_ask(1, 1, 10, 0))])
    if reply.place != 10:
        raise SystemExit(f"The bank granted {reply.place} of 10.")

    async def all_of(nonce: int, sequence: int) -> None:
        for at in range(0, count, BATCH):
            await made.sync(
                [(bucket, an_ask(nonce, sequence, 10, 0)) for bucket in buckets[at : at + BATCH]]
            )

    before = (await client.info("memory"))["used_memory"]
    calls = -(-count // BATCH)
    per_call = await server.per(calls, partial(all_of, 2, 1))
    one_holder = (await client.info("memory"))["used_memory"]
    told(f"Redis: a lease call for {BATCH} buckets that are new", per_call, "µs CPU")
    told("  a bucket of it", per_call / BATCH, "µs CPU")
    per_call = await server.per(calls, partial(all_of, 2, 2))
    told(f"Redis: a lease call for {BATCH} buckets that are known", per_call, "µs CPU")
    told("  a bucket of it", per_call / BATCH, "µs CPU")
    told("Redis: memory of a bucket with one host", (one_holder - before) / count, "bytes")
    for nonce in (3, 4, 5):
        await all_of(nonce, 1)
    told(
        "  with four hosts",
        ((await client.info("memory"))["used_memory"] - before) / count,
        "bytes",
    )

    async def single() -> None:
        for number in range(ROUNDS):
            await made.sync([(buckets[number], an_ask(2, 3, 10, 0))])

    told("Redis: a lease call for one bucket", await server.per(ROUNDS, single), "µs CPU")


async def registered(client: Redis, server: Meter) -> None:
    """Renewals and looks of the registry, with ever more hosts."""
    for hosts in (4, 64, 256):
        registry = Registry(client, f"bench{hosts}")
        for id in range(1, hosts + 1):
            await registry.register(
                id, "t", 0, f"gateway-{id}.example", '{"version":"0.1.0","workers":8}'
            )

        async def renew(registry: Registry = registry, hosts: int = hosts) -> None:
            for number in range(ROUNDS):
                if (await registry.renew(1 + number % hosts, "t", 0, "n")).verdict != "granted":
                    raise SystemExit("A renewal was refused.")

        async def look(registry: Registry = registry, hosts: int = hosts) -> None:
            for _ in range(ROUNDS):
                if len((await registry.look()).hosts) != hosts:
                    raise SystemExit("A host is missing.")

        told(f"Redis: a renewal, with {hosts} hosts", await server.per(ROUNDS, renew), "µs CPU")
        told(
            "  a look at all of them, as who waits for a change does",
            await server.per(ROUNDS, look),
            "µs CPU",
        )


def rows(start: int, count: int, keys: int) -> list[Any]:
    """Rows of the log, of ``keys`` keys drawn at random."""
    draw = random.Random(start)
    return [
        (
            seq % 16,
            77,
            seq,
            now_ms(),
            KEY + draw.randrange(keys),
            TEAM,
            USER,
            ORG,
            "gpt-5",
            "echo",
            0,
            200,
            *ENDED,
        )
        for seq in range(start, start + count)
    ]


async def ledger(world: World, server: Meter, count: int) -> None:
    """Rows of the request log, with all their sums; money leases; what a host that only looks
    costs.
    """
    store = world.store

    async def drain(start: int, lot: int, keys: int) -> None:
        for at in range(start, start + count, lot):
            if await store.record(rows(at, lot, keys), ()) != lot:
                raise SystemExit("A row was not new.")

    await drain(10_000_000, LOT, KEYS)  # tables and statements are warm
    for place, (lot, keys) in enumerate(((LOT, KEYS), (50, KEYS), (LOT, 1)), 2):
        begun = time.perf_counter()
        start = place * 10_000_000
        cost = await server.per(count, partial(drain, start, lot, keys))
        took = (time.perf_counter() - begun) / count * 1_000_000
        told(f"PostgreSQL: a row, {lot} in a transaction, {keys} keys", cost, "µs CPU")
        told("  and by the clock, one host alone", took, "µs")
    size = "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'requests'::regclass"
    found = await world.one(size)
    told(
        "PostgreSQL: a row of the log on disk, with its indexes",
        int(str(found[0])) / (4 * count),
        "bytes",
    )


async def money(world: World, server: Meter) -> None:
    """Leases of budgets, one and many a visit."""
    await world.scope(Kind.TEAM, TEAM, cap=10**15)
    for id in range(KEY, KEY + 64):
        await world.scope(Kind.KEY, id, cap=10**15)
    first = now_ms() // DAY_MS
    first -= int(time.strftime("%d", time.gmtime(first * 86_400))) - 1
    for many in (1, 64):
        asks = [
            bank.Ask(int(Kind.KEY), KEY + place, first, 0, 0, like=1000) for place in range(many)
        ]
        if None in [answer.granted for answer in await bank.settle(world.store, asks)]:
            raise SystemExit("A budget was not granted.")

        async def visits(asks: list[bank.Ask] = asks) -> None:
            for _ in range(ROUNDS):
                await bank.settle(world.store, asks)

        cost = await server.per(ROUNDS * many, visits)
        told(f"PostgreSQL: a lease of money, {many} a visit", cost, "µs CPU")

    async def looks() -> None:
        for _ in range(ROUNDS):
            async with world.store.read() as connection:
                await change_seq(connection)

    told(
        "PostgreSQL: a host asks whether there is a change",
        await server.per(ROUNDS, looks),
        "µs CPU",
    )


async def changes(world: World, server: Meter) -> None:
    """What a host costs that hears of a change, reads and applies it."""
    arena = await snapshot.attach(world.settings, world.store)
    data, total = DataDir(world.settings.data_dir), 0.0
    for id in range(KEY, KEY + 100):
        await world.scope(Kind.KEY, id, status=Status.REVOKED)

        async def follow() -> None:
            await snapshot.follow(arena, world.store, data)

        total += await server.per(1, follow)
    newest = arena.applied
    async with world.store.read() as connection:
        if newest != await change_seq(connection):
            raise SystemExit("A change was not applied.")
    snapshot.detach(world.settings)
    told("PostgreSQL: a host applies a change", total / 100, "µs CPU")


async def run(buckets: int, count: int) -> None:
    redis = RedisServer()
    try:
        client = connect(redis.url)
        print(f"Redis {(await client.info('server'))['redis_version']}")
        meter = Meter(redis.pid)
        await leases(client, meter, buckets)
        await registered(client, meter)
        await client.aclose()
    finally:
        redis.remove()
    postgres = PostgresServer()
    try:
        with tempfile.TemporaryDirectory() as folder:
            world = await World.make(Path(folder) / "data", database_url=postgres.database())
            print(f"PostgreSQL {postgres.execute('SHOW server_version')}, fsync off")
            for id in range(KEY, KEY + KEYS):
                await world.key(id)
            meter = Meter(postgres.pid)
            await ledger(world, meter, count)
            await money(world, meter)
            await changes(world, meter)
            await world.close()
    finally:
        postgres.remove()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--buckets", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=40_000)
    options = parser.parse_args()
    log.configure("warning")
    asyncio.run(run(options.buckets, options.rows))


if __name__ == "__main__":
    main()
