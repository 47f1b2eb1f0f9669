"""Money: never above the cap, to the nano-dollar in the ledger; and a refusal consumes nothing anywhere."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nemorouter import snapshot
from nemorouter._core import Arena, Gate, Journal, ManualClock, hash_key
from nemorouter.datadir import DataDir
from nemorouter.errors import Code
from nemorouter.settings import Upstream
from nemorouter.store.ledger import DAY_MS, drain, window_days, window_spend
from nemorouter.types import Duration, Endpoint, Kind, ModelPrice, Policy, Status
from tests.faults.server import Client, Server, chat, clients, free_port
from tests.faults.world import KEY, ORG, TEAM, USER, World, a_key

PEPPERS = [(1, bytes(32))]
MIDNIGHT = 20_700 * DAY_MS


# A slow upstream, and budgets that are raced for -----------------------------------------------------------------


async def slow_upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request after a while, with usage of 5 + 2 tokens."""
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    body = msgspec.json.encode({"id": "x", "object": "chat.completion", "choices": [], "usage": usage})
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    try:
        while True:
            asked = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(asked.partition(b"content-length:")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            await asyncio.sleep(0.03)
            writer.write(head + body)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


@pytest.mark.parametrize(
    "rounds", [pytest.param(8, id="short"), pytest.param(100, id="long", marks=pytest.mark.campaign)]
)
async def test_a_budget_for_three_that_fifty_want(tmp_path: Path, rounds: int) -> None:
    upstream = await asyncio.start_server(slow_upstream, "127.0.0.1", 0)
    port = upstream.sockets[0].getsockname()[1]
    world = await World.make(
        tmp_path / "data",
        workers=4,
        port=free_port(),
        log_level="warning",
        upstreams=(Upstream(name="slow", base_url=f"http://127.0.0.1:{port}/v1", models=("*",)),),
    )
    await world.price("slow-1", input=1_000_000, output=1_000_000)
    body = chat("slow-1", max_tokens=8)
    reserved = -(-len(body) // 4) + 8
    cap = 3 * reserved + reserved // 2
    for id in range(KEY, KEY + rounds):
        await world.key(id, cap=cap)
    worst = 0
    async with Server(world.settings):
        arena = snapshot.live(world.settings)
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
                assert {answer.code for answer in answers if answer.status != 200} == {"budget_exceeded"}
                # Three at once, and as many more as what came back paid for.
                assert 3 <= served <= cap // 7
                assert arena.meters(index).committed == 7 * served
    assert 3 * reserved <= worst <= cap
    spent = await world.all("SELECT key_id, sum(cost_nano), count(*) FROM requests GROUP BY key_id")
    assert len(spent) == rounds
    assert all(nano == 7 * int(str(rows)) <= cap for _, nano, rows in spent if isinstance(nano, int))
    await sums_agree(world)
    upstream.close()
    await world.close()


async def sums_agree(world: World) -> None:
    """Log and daily sums tell the same, to the nano-dollar."""
    log, days = "SELECT sum(cost_nano), count(*) FROM requests", "SELECT sum(cost_nano), sum(requests) FROM spend_daily"
    assert await world.one(log) == await world.one(days)


async def digest(world: World, id: int) -> bytes:
    (found,) = await world.one("SELECT digest FROM keys WHERE id = ?", id)
    assert isinstance(found, bytes)
    return found


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

    def __init__(self, world: World, arena: Arena, journals: list[Journal], rng: random.Random) -> None:
        self.rng = rng
        self.wall = self.latest = MIDNIGHT - 50
        self.clock = ManualClock(wall_ms=self.wall)
        self.arena = arena
        self.journals = journals
        self.gates = [Gate(arena, journal, world.peppers, self.clock) for journal in journals]
        index = self.gates[0].identify(f"Bearer {world.keys[KEY]}", "127.0.0.1", 0)
        self.scopes = {Kind.KEY: index} | {kind: find(arena, kind) for kind in (Kind.TEAM, Kind.USER, Kind.ORG)}
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
        gate.settle(ticket, self.rng.randint(0, reserved), 0, 0, 200, 1, 1, -1)


@pytest.mark.parametrize("seed", [pytest.param(seed, id=str(seed)) for seed in range(5)])
async def test_windows_turn_with_money_in_flight(tmp_path: Path, seed: int) -> None:
    """Committed never passes a cap, late costs stay in their own window, and the ledger knows each to the nano."""
    world = await World.make(tmp_path / "data")
    await world.key()
    for kind, id in IDS.items():
        await world.scope(kind, id, cap=CAPS[kind], duration=DURATIONS[kind])
    await world.price("m", input=1_000_000, output=0)
    arena = Arena.private(64)
    Gate(arena, Journal.private(16), PEPPERS, ManualClock(wall_ms=MIDNIGHT - 50))  # gives the arena that clock
    data = DataDir(world.settings.data_dir).prepare()
    await snapshot.catch_up(arena, world.store, data)
    journals = [await snapshot.new_journal(world.settings, ["echo"]) for _ in range(2)]
    turning = Turning(world, arena, journals, random.Random(seed))
    for _ in range(400):
        turning.step()
        if turning.rng.random() < 0.1:
            await drain(world.store, journals)
        for kind, index in turning.scopes.items():
            assert arena.meters(index, wall_ms=turning.wall).committed <= CAPS[kind], f"seed {seed}"
    while turning.tickets:
        turning.settle()
    while await drain(world.store, journals):
        pass
    async with world.store.read() as connection:
        for kind, index in turning.scopes.items():
            spent = await window_spend(connection, kind, IDS[kind], *arena.window(index, turning.latest))
            assert arena.meters(index, wall_ms=turning.latest).committed == spent, f"seed {seed}, {kind.name}"
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


# Every reason to refuse, at every level -------------------------------------------------------------------------


class Scene:
    """An org, a team, a user and a key, each with limits that leave room; ``change`` takes it away at one level."""

    def __init__(self, slots: int = 8) -> None:
        self.clock = ManualClock()
        self.arena = Arena.private(16)
        self.journal = Journal.private(slots, ["echo"])
        self.gate = Gate(self.arena, self.journal, PEPPERS, self.clock)
        self.text = a_key()
        self.version = 1
        digest = hash_key(self.text, bytes(32))
        self.policies: dict[Kind, Policy] = {
            Kind.ORG: Policy(kind=Kind.ORG, id=ORG, version=1),
            Kind.TEAM: Policy(kind=Kind.TEAM, id=TEAM, org=ORG, version=1),
            Kind.USER: Policy(kind=Kind.USER, id=USER, org=ORG, version=1),
            Kind.KEY: Policy(kind=Kind.KEY, id=KEY, org=ORG, team=TEAM, user=USER, version=1, digest=digest),
        }
        for kind in self.policies:
            rates = {} if kind == Kind.USER else {"rpm": 100, "tpm": 100_000}
            self.change(kind, cap=10**6, **rates)
        self.arena.put_price(ModelPrice(model="m", version=1, input=1_000_000, output=1_000_000))

    def change(self, kind: Kind, **fields: Any) -> None:
        self.version += 1
        policy = msgspec.structs.replace(self.policies[kind], version=self.version, **fields)
        self.policies[kind] = policy
        self.arena.put(policy)

    def ask(self, model: str = "m") -> int:
        """The code of the refusal, 0 if admitted."""
        index = self.gate.identify(f"Bearer {self.text}", "10.0.0.1", Endpoint.CHAT_COMPLETIONS)
        if index < 0:
            return -index
        verdict = self.gate.admit(index, model, Endpoint.CHAT_COMPLETIONS, 0, 40, 10, 1, False)
        return 0 if isinstance(verdict, int) else verdict.code

    def meters(self) -> list[tuple[object, ...]]:
        wall = 1_767_225_600_000
        found = (self.arena.meters(index, boot_us=1_000_000, wall_ms=wall) for index in range(self.arena.scopes))
        return [(m.rpm_remaining, m.tpm_remaining, m.committed, m.frozen) for m in found]


def changed(code: Code, kind: Kind, **fields: Any) -> Any:
    """The level's policy is changed after one request was admitted."""

    def spoil(scene: Scene) -> None:
        scene.change(kind, **fields)

    return pytest.param(code, spoil, id=f"{code.name.lower()}-{kind.name.lower()}")


def _no_slot(scene: Scene) -> None:
    while not scene.ask():
        pass


REFUSALS = [
    changed(Code.KEY_REVOKED, Kind.KEY, status=Status.REVOKED),
    changed(Code.KEY_EXPIRED, Kind.KEY, expires_ms=1),
    changed(Code.KEY_WRONG_IP, Kind.KEY, ips=("192.168.0.0/16",)),
    *(changed(Code.OWNER_DISABLED, kind, status=Status.DISABLED) for kind in (Kind.TEAM, Kind.USER, Kind.ORG)),
    *(changed(Code.ENDPOINT_NOT_ALLOWED, kind, endpoints=2) for kind in (Kind.KEY,)),
    *(changed(Code.MODEL_NOT_ALLOWED, kind, models=("other",)) for kind in (Kind.KEY, Kind.TEAM)),
    *(changed(Code.RATE_LIMIT_EXCEEDED, kind, rpm=1) for kind in (Kind.KEY, Kind.TEAM, Kind.ORG)),
    *(changed(Code.TPM_LIMIT_EXCEEDED, kind, tpm=30) for kind in (Kind.KEY, Kind.TEAM, Kind.ORG)),
    *(changed(Code.BUDGET_EXCEEDED, kind, cap=39) for kind in (Kind.KEY, Kind.TEAM, Kind.USER, Kind.ORG)),
    *(changed(Code.NOT_READY, kind, duration=Duration.DAILY) for kind in (Kind.KEY, Kind.TEAM, Kind.USER, Kind.ORG)),
    pytest.param(Code.OVERLOADED, _no_slot, id="overloaded"),
]


@pytest.mark.parametrize(("code", "spoil"), REFUSALS)
def test_a_refusal_consumes_nothing(code: Code, spoil: Callable[[Scene], None]) -> None:
    scene = Scene()
    assert scene.ask() == 0
    spoil(scene)
    before, free = scene.meters(), scene.journal.free_slots
    for _ in range(5):
        assert scene.ask() == code
    assert scene.meters() == before
    assert scene.journal.free_slots == free


def test_every_refusal_of_a_known_key_has_a_case() -> None:
    tried = {parameter.values[0] for parameter in REFUSALS} | {Code.MODEL_PRICE_UNKNOWN}
    unknown = {Code.MISSING_API_KEY, Code.KEY_MALFORMED, Code.KEY_UNKNOWN}
    assert tried == {code for code in Code if code <= Code.NOT_READY} - unknown


def test_a_model_without_a_price_and_strangers_consume_nothing() -> None:
    scene = Scene()
    before = scene.meters()
    assert scene.ask("free-for-all") == Code.MODEL_PRICE_UNKNOWN
    identify = scene.gate.identify
    assert identify(None, "10.0.0.1", 0) == -Code.MISSING_API_KEY
    assert identify("Bearer sk-nemo-short", "10.0.0.1", 0) == -Code.KEY_MALFORMED
    assert identify(f"Bearer {a_key()}", "10.0.0.1", 0) == -Code.KEY_UNKNOWN
    assert scene.meters() == before


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
            asked = asyncio.create_task(client.ask(world.keys[KEY], chat(stream=True, content="x " * 400)))
            await asyncio.sleep(0.002)
            await client.close()
            await asked
        arena = snapshot.live(world.settings)
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
