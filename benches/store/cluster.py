"""Measure what one Redis and one PostgreSQL pay for many hosts.

python -m benches.store.cluster [--buckets 20000] [--rows 40000]

``docs/scaling.md`` is computed from these figures. CPU time is that of all processes of a server,
as the kernel counts it, so that other work on the machine disturbs little. A bucket is also
measured in bytes of Redis's memory, and a row of the request log in bytes of PostgreSQL's disk.
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

from nemorouter import log
from nemorouter.arena import attach
from nemorouter.bench.process import cpu_seconds, tree
from nemorouter.cluster.budgets import bank
from nemorouter.cluster.membership.registry import Registry
from nemorouter.cluster.rates.messages import BATCH, TAGS, BucketAddress, RateRequest
from nemorouter.cluster.rates.redis_bank import RedisBank
from nemorouter.cluster.rates.terms import Terms
from nemorouter.cluster.redis import connect
from nemorouter.datadir.paths import DataDir
from nemorouter.services.transaction.clock import now_ms
from nemorouter.store.policies import change_seq
from nemorouter.store.sums import DAY_MS
from nemorouter.types import Kind, Outcome, Status
from tests.support.postgres_server import PostgresServer
from tests.support.redis_server import RedisServer
from tests.support.world import KEY, ORG, TEAM, USER, World

ROUNDS = 300
BATCH_ROWS = 1000
"""Rows that the drainer writes in one transaction when it has much to do."""
KEYS = 500
ENDED = (Outcome.OK, 1, 10, 2, 3, 5, 9, 1500, None)


def show(what: str, value: float, unit: str) -> None:
    """Print one figure on a line."""
    print(f"{what:<62} {value:>10,.2f} {unit}", flush=True)


class Meter:
    """The CPU time of a server and of all processes that it started."""

    def __init__(self, pid: int) -> None:
        self._root = pid

    async def per(self, times: int, work: Callable[[], Awaitable[None]]) -> float:
        """Run ``work``, which does something ``times`` times; return the microseconds for one."""
        before = cpu_seconds(tree(self._root))
        await work()
        return (cpu_seconds(tree(self._root)) - before) / times * 1_000_000


def an_ask(nonce: int, sequence: int, want: int, spent: int) -> RateRequest:
    """Build a request for ``want`` tokens, by a host that has spent ``spent`` so far."""
    return RateRequest(
        nonce=nonce,
        sequence=sequence,
        epoch=0,
        place=0,
        spent=spent,
        refunded=0,
        refunded_at=0,
        need=0,
        demand=0,
        target=want,
        bye=False,
        limit=60_000,
        period=60_000_000,
        burst=60_000,
        version=1,
    )


async def leases(client: Redis, server: Meter, count: int) -> None:
    """Measure lease calls for one bucket and for a full batch, and the bytes of a bucket.

    ``count`` is the number of buckets. SystemExit if the bank does not grant what it should.
    """
    made = RedisBank(client, "bench", Terms())
    epochs = await made.begin()
    buckets = [BucketAddress(int(Kind.KEY), number, number % 1000, 0) for number in range(count)]
    full_in = [epochs[bucket.org % TAGS] for bucket in buckets]
    _, (reply,) = await made.sync([(buckets[0], an_ask(1, 1, 10, 0))], full_in[:1])
    if reply.place != 10:
        raise SystemExit(f"The bank granted {reply.place} of 10.")

    async def request_all(nonce: int, sequence: int) -> None:
        for at in range(0, count, BATCH):
            asked = buckets[at : at + BATCH]
            await made.sync(
                [(bucket, an_ask(nonce, sequence, 10, 0)) for bucket in asked],
                full_in[at : at + BATCH],
            )

    before = (await client.info("memory"))["used_memory"]
    calls = -(-count // BATCH)
    per_call = await server.per(calls, partial(request_all, 2, 1))
    one_holder = (await client.info("memory"))["used_memory"]
    show(f"Redis: a lease call for {BATCH} new buckets", per_call, "µs CPU")
    show("  per bucket", per_call / BATCH, "µs CPU")
    per_call = await server.per(calls, partial(request_all, 2, 2))
    show(f"Redis: a lease call for {BATCH} known buckets", per_call, "µs CPU")
    show("  per bucket", per_call / BATCH, "µs CPU")
    show("Redis: memory of a bucket that one host holds", (one_holder - before) / count, "bytes")
    for nonce in (3, 4, 5):
        await request_all(nonce, 1)
    four_holders = (await client.info("memory"))["used_memory"]
    show("  that four hosts hold", (four_holders - before) / count, "bytes")

    async def single() -> None:
        for number in range(ROUNDS):
            await made.sync([(buckets[number], an_ask(2, 3, 10, 0))], [full_in[number]])

    show("Redis: a lease call for one bucket", await server.per(ROUNDS, single), "µs CPU")


async def registered(client: Redis, server: Meter) -> None:
    """Measure a renewal, and a look at all hosts, in registries of 4, 64 and 256 hosts."""
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

        show(f"Redis: a renewal, with {hosts} hosts", await server.per(ROUNDS, renew), "µs CPU")
        seen = await server.per(ROUNDS, look)
        show("  a look at all hosts, as a wait for a change takes it", seen, "µs CPU")


def rows(start: int, count: int, keys: int) -> list[Any]:
    """Build ``count`` rows of the log, numbered from ``start``, of ``keys`` keys at random."""
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
    """Measure a row of the request log with all its sums: CPU time, duration and size on disk.

    ``count`` rows are written in transactions of many and of few rows, of many keys and of one.
    """
    store = world.store

    async def drain(start: int, batch: int, keys: int) -> None:
        for at in range(start, start + count, batch):
            if await store.record(rows(at, batch, keys), ()) != batch:
                raise SystemExit("A row was not new.")

    await drain(10_000_000, BATCH_ROWS, KEYS)  # a first pass, unmeasured, warms the caches
    cases = ((BATCH_ROWS, KEYS), (50, KEYS), (BATCH_ROWS, 1))
    for place, (batch, keys) in enumerate(cases, 2):
        begun = time.perf_counter()
        start = place * 10_000_000
        cost = await server.per(count, partial(drain, start, batch, keys))
        took = (time.perf_counter() - begun) / count * 1_000_000
        show(f"PostgreSQL: a row, {batch} in a transaction, {keys} keys", cost, "µs CPU")
        show("  by the clock, one host alone", took, "µs")
    found = await world.one(
        "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits "
        "WHERE inhparent = 'requests'::regclass"
    )
    size = int(str(found[0])) / ((1 + len(cases)) * count)
    show("PostgreSQL: a row of the log on disk, with its indexes", size, "bytes")


async def money(world: World, server: Meter) -> None:
    """Measure leases of budgets, one and 64 in a call, and the question whether policy changed."""
    await world.scope(Kind.TEAM, TEAM, cap=10**15)
    for id in range(KEY, KEY + 64):
        await world.scope(Kind.KEY, id, cap=10**15)
    first = now_ms() // DAY_MS
    first -= int(time.strftime("%d", time.gmtime(first * 86_400))) - 1
    for many in (1, 64):
        asks = [
            bank.BudgetRequest(int(Kind.KEY), KEY + place, first, 0, 0, like=1000)
            for place in range(many)
        ]
        if None in [answer.granted for answer in await bank.settle(world.store, asks)]:
            raise SystemExit("A budget was not granted.")

        async def settle(asks: list[bank.BudgetRequest] = asks) -> None:
            for _ in range(ROUNDS):
                await bank.settle(world.store, asks)

        cost = await server.per(ROUNDS * many, settle)
        show(f"PostgreSQL: a lease of money, {many} in a call", cost, "µs CPU")

    async def look() -> None:
        for _ in range(ROUNDS):
            async with world.store.read() as connection:
                await change_seq(connection)

    cost = await server.per(ROUNDS, look)
    show("PostgreSQL: a host asks whether there is a change", cost, "µs CPU")


async def changes(world: World, server: Meter) -> None:
    """Measure what a host costs the database when it reads and applies one change."""
    arena = await attach.attach(world.settings, world.store)
    data = DataDir(world.settings.data_dir)
    total = 0.0
    for id in range(KEY, KEY + 100):
        await world.scope(Kind.KEY, id, status=Status.REVOKED)

        async def follow() -> None:
            await attach.catch_up(arena, world.store, data)

        total += await server.per(1, follow)
    newest = arena.applied
    async with world.store.read() as connection:
        if newest != await change_seq(connection):
            raise SystemExit("A change was not applied.")
    attach.detach(world.settings)
    show("PostgreSQL: a host applies a change", total / 100, "µs CPU")


async def run(buckets: int, count: int) -> None:
    """Start both servers, one after the other, and measure each."""
    redis = RedisServer().start()
    try:
        client = connect(redis.url)
        print(f"Redis {(await client.info('server'))['redis_version']}")
        meter = Meter(redis.pid)
        await leases(client, meter, buckets)
        await registered(client, meter)
        await client.aclose()
    finally:
        redis.kill()
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
    """Measure with the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--buckets", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=40_000, help="a multiple of 1000")
    options = parser.parse_args()
    if options.rows % BATCH_ROWS or options.rows < BATCH_ROWS:
        parser.error(f"--rows must be a multiple of {BATCH_ROWS}")
    log.configure("warning")
    asyncio.run(run(options.buckets, options.rows))


if __name__ == "__main__":
    main()
