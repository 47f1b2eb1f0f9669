"""Test several hosts and one key: what they admit stays within its limits and budget."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from nemorouter.cluster.rates.messages import TAGS
from nemorouter.services.scopes import keys
from nemorouter.types import NANO, Kind
from tests.support.fleet import ACTOR, Fleet, doors, fleet, status
from tests.support.installation import fields
from tests.support.leases.fleet import worst
from tests.support.oracle import issued
from tests.support.postgres_server import PostgresServer
from tests.support.redis_server import RedisServer
from tests.support.servers import until
from tests.support.serving import Answer, Client, boot_us, chat
from tests.support.world import KEY, ORG


@pytest.fixture
async def four(
    tmp_path: Path, postgres: PostgresServer, empty_template: str
) -> AsyncIterator[Fleet]:
    async with fleet(
        tmp_path / "fleet", database_url=postgres.database(empty_template), workers=2
    ) as made:
        yield made


def ripen(redis: RedisServer) -> None:
    """Let what Redis holds count as old, so that buckets begin full."""
    for name in until(lambda: redis.cli("KEYS", "*:epoch").split()):
        redis.cli("SET", name, "1700000000000000")


async def ask_until(client: Client, key: str, end_us: int, answers: list[Answer]) -> None:
    """Ask again and again."""
    while boot_us() < end_us:
        answer = await client.ask(key)
        assert answer is not None
        answers.append(answer)
        await asyncio.sleep(0.02)


def admitted(answers: list[Answer]) -> list[tuple[int, int, int]]:
    return [(answer.begun_us, answer.ended_us, 1) for answer in answers if answer.status == 200]


def refused(answers: list[Answer]) -> Counter[str]:
    return Counter(answer.code for answer in answers if answer.status != 200)


async def test_a_small_limit_is_one_limit_over_all_hosts(four: Fleet) -> None:
    key = await four.world.key(rpm=60)
    await four.settle()
    ripen(four.redis)
    answers: list[Answer] = []
    begun = boot_us()
    async with doors(four, each=2) as hosts:
        clients = [client for host in hosts for client in host]
        await asyncio.gather(
            *(ask_until(client, key, begun + 6_000_000, answers) for client in clients)
        )
    assert set(refused(answers)) == {"rate_limit_exceeded"}
    assert worst(admitted(answers), 60) <= 60
    assert len(admitted(answers)) >= 0.95 * (60 + issued(60, 6_000_000)) - 1
    await until_used(four, len(admitted(answers)))


async def test_a_new_cluster_lends_the_whole_burst_from_its_first_call(four: Fleet) -> None:
    """A burst of 60, and 400 calls at once over four hosts on a Redis that was never used."""
    key = await four.world.key(rpm=60)
    await four.settle()
    answers: list[Answer] = []
    begun = boot_us()
    async with doors(four, each=100) as hosts:
        calls = [client.ask(key) for host in hosts for client in host]
        answers += [answer for answer in await asyncio.gather(*calls) if answer is not None]
    assert len(answers) == 400
    assert worst(admitted(answers), 60) <= 60
    assert 60 <= len(admitted(answers)) <= 60 + issued(60, boot_us() - begun)


async def test_after_a_loss_a_new_key_has_its_burst_and_an_old_one_waits(four: Fleet) -> None:
    old = await four.world.key(rpm=6)
    await four.settle()
    async with doors(four) as hosts:
        door = hosts[0][0]
        assert await status(door, old) == 200
        four.redis.cli("FLUSHALL")
        until(lambda: len(four.redis.cli("KEYS", "nemorouter:*:epoch").split()) == TAGS)
        made = await keys.create(
            await four.context(),
            ACTOR,
            keys.NewKey(name="new", **fields(rpm=6)),
        )
        assert [await status(door, made.key) for _ in range(7)] == [200] * 6 + [429]
        assert await status(door, old) == 429


async def until_used(made: Fleet, requests: int) -> None:
    """Other programs can read in Redis what was used: under the name that the reference gives."""
    install = (await made.world.one("SELECT value FROM meta WHERE key = 'install'"))[0]
    end = boot_us() + 5_000_000
    found = 0
    while found != requests:
        assert boot_us() < end, (found, requests)
        days = {time.strftime("%Y-%m-%d", time.gmtime(time.time() - back)) for back in (0, 60)}
        names = [f"nemorouter:{install}:{{{ORG % 256}}}:use:{day}:key:{KEY}" for day in days]
        found = sum(int(made.redis.cli("HGET", name, "rpm") or 0) for name in names)
        await asyncio.sleep(0.1)


@pytest.mark.campaign
async def test_tokens_that_were_not_used_come_back_to_all_hosts(four: Fleet) -> None:
    """Reserve a third of the limit each, and use a hundredth of that; the rest serves others."""
    key = await four.world.key(tpm=6_000)
    await four.settle()
    ripen(four.redis)
    begun = boot_us()
    served = 0
    async with doors(four) as hosts:
        for turn in range(40):
            answer = await hosts[turn % 4][0].ask(key, chat(max_tokens=2_000))
            assert answer is not None
            served += answer.status == 200
            await asyncio.sleep(0.2)
    reserved = 6_000 + issued(6_000, boot_us() - begun)
    assert served > 2 * (reserved // 2_000), "no more than without refunds"


def spent(answers: list[Answer]) -> Decimal:
    costs = (answer.headers["x-nemo-request-cost"] for answer in answers if answer.status == 200)
    return sum((Decimal(cost) for cost in costs), Decimal(0))


async def test_a_budget_is_one_budget_over_all_hosts(four: Fleet) -> None:
    """50 at once at each of four hosts, and money for about 40 of them."""
    await four.world.price("echo", input=0, output=0, request=NANO)
    key = await four.world.key()
    await four.world.scope(Kind.KEY, KEY, cap=40 * NANO)
    await four.settle()
    answers: list[Answer] = []
    end_us = boot_us() + 20_000_000
    async with doors(four, each=50) as hosts:
        clients = [client for host in hosts for client in host]
        answers += [
            answer
            for answer in await asyncio.gather(*(client.ask(key) for client in clients))
            if answer
        ]
        assert len(answers) == 200
        while (
            spent(answers) < 40 and boot_us() < end_us
        ):  # what lies idle at one host reaches the others
            answers += [answer for host in hosts if (answer := await host[0].ask(key))]
            await asyncio.sleep(0.1)
        answers += [
            answer
            for answer in await asyncio.gather(*(client.ask(key) for client in clients))
            if answer
        ]
    assert set(refused(answers)) <= {"budget_exceeded", "not_ready"}
    assert spent(answers) == 40, refused(answers)
