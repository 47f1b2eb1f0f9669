"""Money: never above the cap, and to the nano-dollar in the ledger."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nemorouter._core import Arena, Gate, Journal, ManualClock
from nemorouter.arena import attach
from nemorouter.datadir.paths import DataDir
from nemorouter.errors import Code
from nemorouter.settings import UpstreamSettings
from nemorouter.store.journals import move
from nemorouter.store.ledger import window_spend
from nemorouter.store.sums import DAY_MS, window_days
from nemorouter.types import Duration, Kind
from tests.support.ledger_checks import digest, sums_agree
from tests.support.servers import free_port
from tests.support.serving import Client, Server, chat, clients
from tests.support.slow_upstream import slow_upstream
from tests.support.world import KEY, ORG, TEAM, USER, World

PEPPERS = [(1, bytes(32))]
MIDNIGHT = 20_700 * DAY_MS


# A slow upstream, and budgets that are raced for
# -----------------------------------------------------------------


@pytest.mark.parametrize(
    "rounds",
    [pytest.param(8, id="short"), pytest.param(100, id="long", marks=pytest.mark.campaign)],
)
async def test_a_budget_for_three_that_fifty_want(tmp_path: Path, rounds: int) -> None:
    upstream = await asyncio.start_server(slow_upstream, "127.0.0.1", 0)
    port = upstream.sockets[0].getsockname()[1]
    world = await World.make(
        tmp_path / "data",
        workers=4,
        port=free_port(),
        log_level="warning",
        upstreams=(
            UpstreamSettings(name="slow", base_url=f"http://127.0.0.1:{port}/v1", models=("*",)),
        ),
    )
    await world.price("slow-1", input=1_000_000, output=1_000_000)
    body = chat("slow-1", max_tokens=8)
    reserved = -(-len(body) // 4) + 8
    cap = 3 * reserved + reserved // 2
    for id in range(KEY, KEY + rounds):
        await world.key(id, cap=cap)
    worst = 0
    async with Server(world.settings):
        arena = attach.live(world.settings)
        assert arena is not None
        async with clients(world.settings.port, 50) as made:
            for id in range(KEY, KEY + rounds):
                index = arena.find(Kind.KEY, id, await digest(world, id))
                assert index is not None
                asked = asyncio.gather(*(client.ask(world.keys[id], body) for client in made))
                while not asked.done():
                    worst = max(worst, arena.meters(index).committed)
                    await asyncio.sleep(0)
                answers = [answer for answer in await asked if answer is not None]
                assert len(answers) == 50
                served = sum(answer.status == 200 for answer in answers)
                assert {answer.code for answer in answers if answer.status != 200} == {
                    "budget_exceeded"
                }
                # Three at once, and as many more as what came back paid for.
                assert 3 <= served <= cap // 7
                assert arena.meters(index).committed == 7 * served
    assert 3 * reserved <= worst <= cap
    spent = await world.all("SELECT key_id, sum(cost_nano), count(*) FROM requests GROUP BY key_id")
    assert len(spent) == rounds
    assert all(
        nano == 7 * int(str(rows)) <= cap for _, nano, rows in spent if isinstance(nano, int)
    )
    await sums_agree(world)
    upstream.close()
    await world.close()


CAPS = {Kind.KEY: 60, Kind.TEAM: 80, Kind.USER: 200, Kind.ORG: 400}
DURATIONS = {
    Kind.KEY: Duration.DAILY,
    Kind.TEAM: Duration.WEEKLY,
    Kind.USER: Duration.MONTHLY,
    Kind.ORG: Duration.TOTAL,
}
IDS = {Kind.KEY: KEY, Kind.TEAM: TEAM, Kind.USER: USER, Kind.ORG: ORG}


class Turning:
    """Two workers and a clock that passes midnights and month's ends, and is set back at times."""

    def __init__(
        self, world: World, arena: Arena, journals: list[Journal], rng: random.Random
    ) -> None:
        self.rng = rng
        self.wall = MIDNIGHT - 50
        self.latest = self.wall
        self.clock = ManualClock(wall_ms=self.wall)
        self.arena = arena
        self.journals = journals
        self.gates = [Gate(arena, journal, world.peppers, self.clock) for journal in journals]
        index = self.gates[0].identify(f"Bearer {world.keys[KEY]}", "127.0.0.1", 0)
        self.scopes = {Kind.KEY: index} | {
            kind: find(arena, kind) for kind in (Kind.TEAM, Kind.USER, Kind.ORG)
        }
        self.tickets: list[tuple[Gate, int]] = []

    def step(self) -> None:
        rng = self.rng
        gate = rng.choice(self.gates)
        ticket = gate.admit(self.scopes[Kind.KEY], "m", 0, 0, 4 * rng.randint(1, 30), 0, 1, False)
        if isinstance(ticket, int):
            self.tickets.append((gate, ticket))
        else:
            assert ticket.code == Code.BUDGET_EXCEEDED
        while self.tickets and rng.random() < 0.5:
            self.settle(rng.randrange(len(self.tickets)))
        if rng.random() < 0.1:
            step = rng.choice((10, 100, DAY_MS // 2, 7 * DAY_MS, -DAY_MS))
            # A word knows that it is up to two windows ahead of a clock that was set back.
            self.wall = max(self.wall + step, self.latest - 2 * DAY_MS)
            self.latest = max(self.latest, self.wall)
            self.clock.set_wall(self.wall)

    def settle(self, which: int = -1) -> None:
        gate, ticket = self.tickets.pop(which)
        reserved, _ = gate.reserved(ticket)
        gate.settle(ticket, self.rng.randint(0, reserved), 0, 0, 200, 1, 1, None)


@pytest.mark.parametrize("seed", [pytest.param(seed, id=str(seed)) for seed in range(5)])
async def test_windows_turn_with_money_in_flight(tmp_path: Path, seed: int) -> None:
    """Require that late costs stay in their own window, and committed never passes a cap."""
    world = await World.make(tmp_path / "data")
    await world.key()
    for kind, id in IDS.items():
        await world.scope(kind, id, cap=CAPS[kind], duration=DURATIONS[kind])
    await world.price("m", input=1_000_000, output=0)
    arena = Arena.private(64)
    Gate(
        arena, Journal.private(16), PEPPERS, ManualClock(wall_ms=MIDNIGHT - 50)
    )  # gives the arena that clock
    data = DataDir(world.settings.data_dir).prepare()
    await attach.catch_up(arena, world.store, data)
    journals = [await attach.new_journal(world.settings, ["echo"]) for _ in range(2)]
    turning = Turning(world, arena, journals, random.Random(seed))
    for _ in range(400):
        turning.step()
        if turning.rng.random() < 0.1:
            await move(world.store, data, journals)
        for kind, index in turning.scopes.items():
            assert arena.meters(index, wall_ms=turning.wall).committed <= CAPS[kind], f"seed {seed}"
    while turning.tickets:
        turning.settle()
    while await move(world.store, data, journals):
        pass
    async with world.store.read() as connection:
        for kind, index in turning.scopes.items():
            spent = await window_spend(
                connection, kind, IDS[kind], *arena.window(index, turning.latest)
            )
            assert arena.meters(index, wall_ms=turning.latest).committed == spent, (
                f"seed {seed}, {kind.name}"
            )
            for day in range(MIDNIGHT // DAY_MS - 10, turning.latest // DAY_MS + 1):
                window = window_days(DURATIONS[kind], day)
                assert await window_spend(connection, kind, IDS[kind], *window) <= CAPS[kind], (
                    f"seed {seed}, {kind.name}"
                )
    await sums_agree(world)
    await world.close()


def find(arena: Arena, kind: Kind) -> int:
    index = arena.find(kind, IDS[kind])
    assert index is not None
    return index


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await World.make(tmp_path / "data", port=free_port(), log_level="warning")
    await made.key()
    yield made
    await made.close()


async def test_a_client_that_leaves_pays_once(world: World) -> None:
    """The connection is cut right after the request: whatever happened, no reservation stays."""
    await world.price("echo", input=1_000_000, output=1_000_000)
    await world.scope(Kind.KEY, KEY, cap=10**9)
    async with Server(world.settings):
        for _ in range(20):
            client = await Client(world.settings.port).connect()
            asked = asyncio.create_task(
                client.ask(world.keys[KEY], chat(stream=True, content="x " * 400))
            )
            await asyncio.sleep(0.002)
            await client.close()
            await asked
        arena = attach.live(world.settings)
        assert arena is not None
        index = arena.find(Kind.KEY, KEY, await digest(world, KEY))
        assert index is not None
        async with Client(world.settings.port) as client:
            assert (answer := await client.ask(world.keys[KEY])) is not None
            assert answer.status == 200
        for _ in range(200):
            (spent,) = await world.one("SELECT coalesce(sum(cost_nano), 0) FROM requests")
            if spent == arena.meters(index).committed:
                break
            await asyncio.sleep(0.02)
        assert spent == arena.meters(index).committed
