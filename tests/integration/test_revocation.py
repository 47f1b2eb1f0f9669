"""Test that no worker starts a request of a key once ``revoke`` has returned.

A request that is under way is finished and settled.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nemorouter import ids
from nemorouter.arena import attach
from nemorouter.errors import Code
from nemorouter.roles import Actor, Role
from nemorouter.services.scopes import keys
from nemorouter.services.transaction.context import Context
from nemorouter.settings import UpstreamSettings
from nemorouter.types import Kind, Outcome, Status
from tests.support.servers import free_port
from tests.support.serving import Answer, Client, Server, boot_us, chat, clients
from tests.support.slow_upstream import slow_upstream
from tests.support.world import KEY, ORG, TEAM, World

ACTOR = Actor(org=ORG, role=Role.OWNER, name="test")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await World.make(
        tmp_path / "data", workers=4, port=free_port(), log_level="warning", journal_slots=16_384
    )
    yield made
    await made.close()


class Load:
    """Clients that ask with random keys, and remember when each key was last served."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.rng = random.Random(seed)
        self.ids = list(world.keys)
        self.latest: dict[int, int] = {}  # key → boot clock before its last request that was served
        self.served = 0
        self.over = False

    async def run(self, client: Client) -> None:
        while not self.over:
            id = self.rng.choice(self.ids)
            answer = await client.ask(self.world.keys[id])
            assert answer is not None
            if answer.status == 200:
                self.served += 1
                self.latest[id] = max(answer.begun_us, self.latest.get(id, 0))
            else:
                assert (answer.status, answer.code) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    "count",
    [pytest.param(60, id="short"), pytest.param(1000, id="long", marks=pytest.mark.campaign)],
)
async def test_no_request_starts_after_revoke_returned(world: World, count: int) -> None:
    for id in range(KEY, KEY + count):
        await world.key(id)
    context = await Context.attach(world.store, world.settings, create=True)
    revoked: dict[int, int] = {}
    load = Load(world, count)
    async with Server(world.settings), clients(world.settings.port, 24) as made:
        tasks = [asyncio.create_task(load.run(client)) for client in made[4:]]
        while load.served < 4 * count:
            await asyncio.sleep(0.01)
        for id in list(world.keys):
            await keys.revoke(context, ACTOR, ids.to_text("key", id))
            revoked[id] = boot_us()
            # At once, on four connections: most likely four workers.
            for answer in await asyncio.gather(
                *(client.ask(world.keys[id]) for client in made[:4])
            ):
                assert answer is not None
                assert answer.status == 401, f"key {id} was served after its revocation"
        load.over = True
        await asyncio.gather(*tasks)
    late = {id: load.latest[id] - at for id, at in revoked.items() if load.latest.get(id, 0) > at}
    assert late == {}, "microseconds after revoke returned"
    assert len(load.latest) > count // 2
    assert await world.one("SELECT count(*) FROM requests") == (load.served,)


async def test_what_is_under_way_finishes_and_is_settled(world: World, tmp_path: Path) -> None:
    revoked = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await revoked.wait()
        await slow_upstream(reader, writer)

    upstream = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = upstream.sockets[0].getsockname()[1]
    route = UpstreamSettings(name="slow", base_url=f"http://127.0.0.1:{port}/v1", models=("*",))
    slow = await World.make(
        tmp_path / "slow", workers=2, port=free_port(), log_level="warning", upstreams=(route,)
    )
    await slow.price("slow-1", input=1_000_000, output=1_000_000)
    await slow.key()
    context = await Context.attach(slow.store, slow.settings, create=True)
    async with Server(slow.settings), clients(slow.settings.port, 8) as made:
        arena = attach.live(slow.settings)
        assert arena is not None
        key = arena.find(Kind.TEAM, TEAM)
        assert key is not None
        asked = [
            asyncio.create_task(client.ask(slow.keys[KEY], chat("slow-1", max_tokens=50)))
            for client in made
        ]
        while not arena.meters(key).committed:
            await asyncio.sleep(0)
        await keys.revoke(context, ACTOR, ids.to_text("key", KEY))
        revoked.set()
        answers = [answer for answer in await asyncio.gather(*asked) if answer is not None]
        served = sum(answer.status == 200 for answer in answers)
        assert served > 0
        assert arena.meters(key).committed == 7 * served
    rows = await slow.all("SELECT outcome, cost_nano FROM requests")
    assert rows == [(Outcome.OK, 7)] * served
    upstream.close()
    await slow.close()


@pytest.mark.parametrize(
    ("kind", "id"),
    [pytest.param(Kind.TEAM, TEAM, id="team"), pytest.param(Kind.ORG, ORG, id="org")],
)
async def test_keys_of_a_disabled_owner_die_together(world: World, kind: Kind, id: int) -> None:
    for key in range(KEY, KEY + 5):
        await world.key(key)

    async def ask_all(client: Client) -> list[Answer | None]:
        return [await client.ask(text) for text in world.keys.values()]

    async with Server(world.settings), clients(world.settings.port, 4) as made:
        for answers in await asyncio.gather(*map(ask_all, made)):
            assert [answer.status for answer in answers if answer] == [200] * 5
        await world.scope(kind, id, status=Status.DISABLED)
        await attach.catch_up_if_live(world.settings, world.store)
        for answers in await asyncio.gather(*map(ask_all, made)):
            assert [answer.status for answer in answers if answer] == [401] * 5
    counted = await world.one(
        "SELECT sum(count) FROM refusals WHERE code = ?", int(Code.OWNER_DISABLED)
    )
    assert counted == (20,)
