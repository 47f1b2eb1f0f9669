"""Test that a host without Redis says so, keeps to its offline share, and applies revocations."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from nemorouter import ids
from nemorouter.cluster.membership.hosts import SILENCE_US
from nemorouter.services.scopes import keys
from tests.support.fleet import ACTOR, READY, doors, fleet, status, through, until_status
from tests.support.postgres_server import PostgresServer
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.serving import Client
from tests.support.world import KEY

METRICS = b"GET /metrics HTTP/1.1\r\nHost: t\r\n\r\n"
SILENCE_S = SILENCE_US / 1_000_000
SAFE: dict[str, Any] = {"offline_share": 0.25}


async def metric(client: Client, name: str) -> float:
    answer = await client.raw(METRICS)
    lines = answer.body.decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(name))


async def until_disconnected(client: Client, wanted: float) -> None:
    end = time.monotonic() + 10
    while await metric(client, "nemorouter_host_disconnected") != wanted:
        assert time.monotonic() < end
        await asyncio.sleep(0.1)


async def test_a_host_without_redis_serves_its_offline_share(
    tmp_path: Path, postgres: PostgresServer, empty_template: str
) -> None:
    redis = RedisServer().start()
    url = postgres.database(empty_template)
    try:
        async with (
            Proxy(redis.port) as wire,
            fleet(
                tmp_path / "cut", 2, redis, lambda n, _: through(wire, n), database_url=url, **SAFE
            ) as made,
        ):
            for id in (KEY, KEY + 1):
                await made.world.key(id, rpm=240)
            busy = await made.world.key(KEY + 2, rpm=60_000)
            await made.settle()
            context = await made.context()
            (key, other, _) = made.world.keys.values()
            async with doors(made) as ((near,), (far,)):
                assert b"offline share" not in (await far.raw(READY)).body
                begun = time.monotonic()
                while await metric(far, "nemorouter_cluster_held_rpm_tokens") < 1:
                    await status(far, busy)
                    assert time.monotonic() < begun + 10
                wire.hold()
                begun = time.monotonic()
                await until_disconnected(far, 1)
                served = 0
                while time.monotonic() < begun + SILENCE_S + 1:
                    served += await status(far, key) == 200
                    await asyncio.sleep(0.02)
                assert 0 < served <= 15 + 7, (
                    "a quarter of four a second, and what it had leased before"
                )
                ready = await far.raw(READY)
                assert (ready.status, b"offline share" in ready.body) == (200, True)
                asked = time.monotonic()
                await keys.revoke(context, ACTOR, ids.to_text("key", KEY))
                assert time.monotonic() - asked < SILENCE_S - 1, "it confirms by the store"
                assert [await status(client, key) for client in (near, far)] == [401, 401]
                assert await status(near, other) == 200
                wire.release()
                await until_disconnected(far, 0)
                await until_status(far, other, 200)
                assert b"offline share" not in (await far.raw(READY)).body
                assert await made.world.one("SELECT count(*) FROM disconnected_hosts") == (0,)
    finally:
        redis.kill()


@pytest.mark.campaign
async def test_a_host_that_dies_disconnected_holds_a_change_up_once(
    tmp_path: Path, postgres: PostgresServer, empty_template: str
) -> None:
    async with fleet(
        tmp_path / "f", 1, database_url=postgres.database(empty_template), **SAFE
    ) as made:
        await made.world.key(KEY)
        async with made.world.store.begin() as connection:
            await connection.exec_driver_sql(
                "INSERT INTO disconnected_hosts (id, name, applied, heartbeats) "
                "VALUES (7, 'lost', 0, 3)"
            )
        waits = []
        for _ in range(2):
            begun = time.monotonic()
            await made.settle()
            waits.append(time.monotonic() - begun)
        assert waits[0] >= SILENCE_S > 2 > waits[1], waits
