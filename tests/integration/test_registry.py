"""Test the registry's script in a real Redis against the model of the simulation."""

import random
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from nemorouter.cluster.membership.hosts import RegistryView
from nemorouter.cluster.membership.registry import Registry
from nemorouter.cluster.redis import connect
from tests.support.membership.registry import Model
from tests.support.redis_server import RedisServer


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    server = RedisServer().start()
    yield server
    server.kill()


@pytest.fixture
async def client(redis: RedisServer) -> AsyncIterator[Redis]:
    client = connect(redis.url)
    await client.flushall()
    yield client
    await client.aclose()


def seen(look: RegistryView) -> tuple[object, ...]:
    """Return what both must agree on; the numbers of renewals count from different starts."""
    return (
        look.verdict,
        look.mature,
        look.announced,
        [(host.id, host.applied, host.fence) for host in look.hosts],
    )


class Pair:
    """The registry in Lua and its model, which get the same steps."""

    def __init__(self, registry: Registry, model: Model) -> None:
        self.registry = registry
        self.model = model
        self.looks = [
            (RegistryView("", "", False, 0, 0, ()), RegistryView("", "", False, 0, 0, ()))
        ]

    async def step(self, rng: random.Random) -> None:
        id = rng.randrange(1, 4)
        token = rng.choice("ab")
        number = rng.randrange(8)
        real, known = rng.choice(self.looks[-6:])
        match rng.choice(
            ("register", "renew", "renew", "announce", "fence", "evict", "mature", "leave")
        ):
            case "register":
                made = await self.registry.register(id, token, number, "n")
                like = self.model.call("e", "register", id, token, number)
            case "renew":
                made = await self.registry.renew(id, token, number, "n")
                like = self.model.call("e", "renew", id, token, number)
            case "announce":
                made = await self.registry.announce(number)
                like = self.model.call("e", "announce", number)
            case "fence":
                made = await self.registry.announce(number, id, loud=True)
                like = self.model.call("e", "announce", number, id)
            case "evict" if real.hosts:
                at = rng.randrange(len(real.hosts))
                made = await self.registry.evict(real, real.hosts[at])
                like = self.model.call(
                    "e", "evict", known.epoch, known.hosts[at].id, known.hosts[at].renewals
                )
            case "mature":
                made = await self.registry.mature(real)
                like = self.model.call("e", "mature", known.epoch)
            case "leave":
                made = await self.registry.leave(id)
                like = self.model.call("e", "leave", id)
            case _:
                made = await self.registry.look()
                like = self.model.call("e", "announce", 0)
        assert made.verdict == like.verdict
        made = await self.registry.look()
        like = self.model.call("e", "announce", 0)
        assert seen(made) == seen(like)
        changed = made.epoch != self.looks[-1][0].epoch
        assert changed == (like.epoch != self.looks[-1][1].epoch)
        self.looks.append((made, like))


@pytest.mark.parametrize("seed", range(20))
async def test_script_and_model_are_alike(client: Redis, seed: int) -> None:
    rng = random.Random(seed)
    pair = Pair(Registry(client, "test"), Model("run0"))
    for _ in range(120):
        if rng.random() < 0.03:
            await client.flushall()
            pair.model.flush()
        await pair.step(rng)


async def test_another_server_with_the_same_data_begins_a_new_epoch(
    client: Redis, redis: RedisServer
) -> None:
    registry = Registry(client, "test")
    old = await registry.register(1, "t", 7, "n")
    await registry.mature(old)
    replica = RedisServer().start()
    try:
        replica.cli("REPLICAOF", "127.0.0.1", str(redis.port))
        while "master_link_status:up" not in replica.cli("INFO", "replication"):
            pass
        replica.cli("REPLICAOF", "NO", "ONE")
        other = connect(replica.url)
        look = await Registry(other, "test").look()
        await other.aclose()
    finally:
        replica.kill()
    assert look.epoch != old.epoch
    assert not look.mature
    assert [(host.id, host.applied) for host in look.hosts] == [(1, 7)]
    assert (await registry.look()).mature, "the first server knows of nothing"


async def test_a_call_that_comes_again_after_a_loss_brings_no_epoch_back(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "nemorouter.cluster.membership.registry.secrets.token_hex", lambda _: "same"
    )
    registry = Registry(client, "test")
    first = await registry.look()
    await client.flushall()
    assert (await registry.look()).epoch != first.epoch


async def test_hints_are_heard_and_numbers_stay_whole(client: Redis, redis: RedisServer) -> None:
    registry = Registry(client, "test")
    ears = connect(redis.url, timeout_s=None)
    messages = ears.pubsub()
    await messages.subscribe(registry.channel)
    large = (1 << 52) + 1
    look = await registry.announce(large, loud=True)
    assert look.announced == large
    while (found := await messages.get_message(ignore_subscribe_messages=True, timeout=5)) is None:
        pass
    assert int(found["data"]) == large
    await messages.aclose()
    await ears.aclose()
    id = (1 << 63) - 1
    await registry.register(id, "t", large, "höst")
    assert (await registry.look()).hosts[0][:3] == (id, "höst", large)


async def test_delays_are_counted(client: Redis) -> None:
    registry = Registry(client, "test")
    await registry.done(900)
    await registry.done(60_000)
    look = await registry.done(11_000_000)
    assert look.delays == {"1": 1, "100": 1, "inf": 1, "sum": 11_060_900}
