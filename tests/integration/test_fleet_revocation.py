"""Test several hosts: when ``revoke`` has returned, none of them admits the key.

A host that is cut off has lost its lease.
"""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from nemorouter import ids
from nemorouter.cluster.membership.hosts import SILENCE_US
from nemorouter.datadir.paths import DataDir
from nemorouter.errors import ConflictError
from nemorouter.services.operations import hosts
from nemorouter.services.scopes import keys
from tests.support.fleet import (
    ACTOR,
    READY,
    Fleet,
    doors,
    fleet,
    freeze,
    status,
    through,
    until_status,
)
from tests.support.postgres_server import PostgresServer
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.serving import Client, Server, boot_us
from tests.support.world import KEY

SILENCE_S = SILENCE_US / 1_000_000


@pytest.fixture
async def four(
    tmp_path: Path, postgres: PostgresServer, empty_template: str
) -> AsyncIterator[Fleet]:
    async with fleet(tmp_path / "fleet", database_url=postgres.database(empty_template)) as made:
        yield made


class Load:
    """Clients of all hosts that use random live keys, and note when each key was served last."""

    def __init__(self, live: dict[int, str], seed: int) -> None:
        self.live = live
        self.ids = list(live)
        self.rng = random.Random(seed)
        self.latest: dict[int, int] = {}  # key → boot clock before its last request that was served
        self.served = 0
        self.over = False

    async def run(self, client: Client, pause_s: float) -> None:
        while not self.over:
            id = self.rng.choice(self.ids)
            answer = await client.ask(self.live[id])
            assert answer is not None
            if answer.status == 200:
                self.served += 1
                self.latest[id] = max(answer.begun_us, self.latest.get(id, 0))
            else:
                assert (answer.status, answer.code) == (401, "invalid_api_key")
            await asyncio.sleep(pause_s)


@pytest.mark.parametrize(
    ("count", "at_once"),
    [
        pytest.param(40, 2, id="short"),
        pytest.param(10_000, 32, id="long", marks=pytest.mark.campaign),
    ],
)
async def test_no_host_admits_after_revoke_returned(four: Fleet, count: int, at_once: int) -> None:
    for id in range(KEY, KEY + count):
        await four.world.key(id)
    await four.settle()
    context = await four.context()
    waiting = list(four.world.keys)
    revoked: dict[int, int] = {}
    delays: list[float] = []
    load = Load(dict(four.world.keys), count)

    async def revoke(asking: list[Client]) -> None:
        while waiting:
            id = waiting.pop()
            begun = time.perf_counter()
            await keys.revoke(context, ACTOR, ids.to_text("key", id))
            delays.append(time.perf_counter() - begun)
            revoked[id] = boot_us()
            for answer in await asyncio.gather(
                *(client.ask(four.world.keys[id]) for client in asking)
            ):
                assert answer is not None
                assert answer.status == 401, f"key {id} was served after its revocation"

    async with doors(four, 2 + at_once) as made:
        tasks = [
            asyncio.create_task(load.run(client, 0.02)) for host in made for client in host[:2]
        ]
        while load.served < 4 * len(tasks):
            await asyncio.sleep(0.01)
        await asyncio.gather(
            *(revoke([host[2 + number] for host in made]) for number in range(at_once))
        )
        load.over = True
        await asyncio.gather(*tasks)
    late = {id: load.latest[id] - at for id, at in revoked.items() if load.latest.get(id, 0) > at}
    assert late == {}, "microseconds after revoke returned"
    assert len(revoked) == count
    delays.sort()
    p50, p99 = (delays[int(len(delays) * share)] * 1000 for share in (0.5, 0.99))
    print(
        f"\n{count} revocations, 4 hosts: "
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {delays[-1] * 1000:.1f} ms"
    )
    print(
        f"{load.served} requests served meanwhile; from announced to applied by all, ms: "
        f"{await waits(four)}"
    )


async def waits(made: Fleet) -> str:
    """Return how long the hosts took, as the registry counted it."""
    install = str((await made.world.one("SELECT value FROM meta WHERE key = 'install'"))[0])
    found = made.redis.cli("HGETALL", f"nemorouter:{{hosts:{install}}}").split("\n")
    counted = {
        name: int(value)
        for name, value in zip(*[iter(found)] * 2, strict=True)
        if name.startswith("d:")
    }
    total = counted.pop("d:sum")
    bounds = sorted(counted, key=lambda name: float(name[2:]))
    mean = total / sum(counted.values()) / 1000
    return f"mean {mean:.1f}; " + ", ".join(f"≤{name[2:]}: {counted[name]}" for name in bounds)


async def test_a_frozen_host_holds_a_revocation_up_until_its_lease_is_over(four: Fleet) -> None:
    await four.world.key(KEY)
    await four.world.key(KEY + 1)
    await four.settle()
    context = await four.context()
    key = four.world.keys[KEY]
    other = four.world.keys[KEY + 1]
    async with doors(four) as made:
        for host in made:
            assert await status(host[0], key) == 200
        freeze(four.servers[3])
        try:
            asked = asyncio.create_task(
                made[3][0].ask(key)
            )  # it lies before a worker that stands still
            begun = time.monotonic()
            await keys.revoke(context, ACTOR, ids.to_text("key", KEY))
            took = time.monotonic() - begun
            again = time.monotonic()
            await keys.revoke(context, ACTOR, ids.to_text("key", KEY + 1))
            took_again = time.monotonic() - again
        finally:
            freeze(four.servers[3], signal.SIGCONT)
        assert 3.5 < took < SILENCE_S + 2, took
        assert took_again < 2, "who was evicted once is waited for no more"
        answer = await asked
        assert answer is not None
        assert answer.status in (401, 503)
        for host in made:
            assert await status(host[0], key) in (401, 503)
            await until_status(host[0], key, 401)  # it comes back by itself, and knows
            assert await status(host[0], other) == 401
    print(
        f"\none of 4 hosts frozen: revoke returned after {took:.2f} s; "
        f"the next after {took_again * 1000:.0f} ms"
    )


async def test_a_host_without_redis_stops_when_its_lease_is_over_and_comes_back(
    tmp_path: Path,
) -> None:
    redis = RedisServer().start()
    try:
        async with (
            Proxy(redis.port) as wire,
            fleet(tmp_path / "cut", 2, redis, lambda n, r: through(wire, n)) as made,
        ):
            await made.world.key(KEY)
            await made.settle()
            context = await made.context()
            key = made.world.keys[KEY]
            async with doors(made) as ((near,), (far,)):
                assert await status(far, key) == 200
                wire.hold()
                begun = time.monotonic()
                await keys.create(context, ACTOR, keys.NewKey(name="another"))
                took = time.monotonic() - begun
                assert took < SILENCE_S + 2, took
                answer = await far.ask(key)
                assert answer is not None
                assert (answer.status, answer.code) == (503, "not_ready")
                assert (await far.raw(READY)).status == 503
                assert await status(near, key) == 200
                await keys.revoke(context, ACTOR, ids.to_text("key", KEY))
                wire.release()
                await until_status(far, key, 401)
                assert (await far.raw(READY)).status == 200
    finally:
        redis.kill()


@pytest.mark.campaign
async def test_a_host_without_the_store_admits_until_somebody_needs_its_word(
    tmp_path: Path, postgres: PostgresServer, empty_template: str
) -> None:
    url = postgres.database(empty_template)
    async with Proxy(postgres.port) as wire:
        cut = {"database_url": url.replace(f":{postgres.port}/", f":{wire.port}/")}
        async with fleet(
            tmp_path / "cut", 2, None, lambda n, _: cut if n else {}, database_url=url
        ) as made:
            await made.world.key(KEY)
            await made.settle()
            context = await made.context()
            key = made.world.keys[KEY]
            async with doors(made) as ((near,), (far,)):
                wire.hold()
                await asyncio.sleep(SILENCE_S + 1)
                assert await status(far, key) == 200, (
                    "Redis alone keeps the lease while nothing changes"
                )
                begun = time.monotonic()
                await keys.revoke(context, ACTOR, ids.to_text("key", KEY))
                took = time.monotonic() - begun
                assert 3.5 < took < SILENCE_S + 2, took
                assert await status(far, key) == 503
                assert await status(near, key) == 401
                wire.release()
                await until_status(far, key, 401)
    print(f"\na host cut off from the store: revoke returned after {took:.2f} s")


async def listening(server: Server) -> None:
    """Wait until it answers at all."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with suppress(OSError):
            async with Client(server.settings.port) as client:
                await client.raw(READY)
                return
        await asyncio.sleep(0.1)
    raise AssertionError(server.log.read_text())


async def test_a_registry_that_is_lost_is_found_again_and_nothing_is_applied_early(
    four: Fleet,
) -> None:
    await four.world.key(KEY)
    await four.settle()
    context = await four.context()
    key = four.world.keys[KEY]
    async with doors(four) as made:
        four.redis.cli("FLUSHALL")
        begun = time.monotonic()
        await keys.revoke(context, ACTOR, ids.to_text("key", KEY))
        took = time.monotonic() - begun
        assert took > SILENCE_S - 1, "an empty registry was believed"
        for host in made:
            assert await status(host[0], key) == 401
            assert (await host[0].raw(READY)).status == 200, "a live host lost its lease by it"


async def test_hosts_are_listed_and_the_dead_forgotten(four: Fleet) -> None:
    context = await four.context()
    fleet_of = await hosts.list_hosts(context, ACTOR)
    assert [host.status for host in fleet_of.hosts] == ["live"] * 4
    with pytest.raises(ConflictError, match="lives"):
        await hosts.forget(context, ACTOR, fleet_of.hosts[0].id)
    four.servers[0].kill_all()
    number = DataDir(four.servers[0].settings.data_dir).host_number()
    name = ids.to_text("host", number)
    await hosts.forget(context, ACTOR, name)
    left = await hosts.list_hosts(context, ACTOR)
    assert name not in [host.id for host in left.hosts if host.status != "gone"]
    assert len([host for host in left.hosts if host.status == "live"]) == 3


async def test_a_store_from_before_is_not_served_without_a_word(tmp_path: Path) -> None:
    async with fleet(tmp_path / "fleet", 1) as made:
        await made.world.key(KEY)
        await made.settle()
        key = made.world.keys[KEY]
        (server,) = made.servers
        async with doors(made) as ((client,),):
            assert await status(client, key) == 200
            await made.world.key(KEY + 1)
            await made.settle()
            async with made.world.store.begin() as connection:
                await connection.exec_driver_sql(
                    "UPDATE meta SET value = value - 1 WHERE key = 'change_seq'"
                )
                await connection.exec_driver_sql(
                    "DELETE FROM changes WHERE seq = (SELECT max(seq) FROM changes)"
                )
            await until_status(client, key, 503)
        await asyncio.to_thread(server.stop)
        server.start()
        await listening(server)
        await asyncio.sleep(1)
        async with doors(made) as ((client,),):
            assert await status(client, key) == 503, (
                "the registry knows a change that the store does not"
            )
        await asyncio.to_thread(server.stop)
        await hosts.reset(await made.context(), ACTOR)
        server.start()
        await server.ready()
        async with doors(made) as ((client,),):
            assert await status(client, key) == 200
