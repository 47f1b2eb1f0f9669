"""Test that a row which cannot be applied is set aside and named, and stops no other row."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nemorouter._core import Arena, Gate, Journal
from nemorouter.arena import attach
from nemorouter.datadir import set_aside
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.set_aside import Item, Queue
from nemorouter.errors import Code, ConfigurationError
from nemorouter.services.transaction.lookup import text_id
from nemorouter.types import MAX_PRICES, Endpoint, Kind, Status
from tests.support.sql import sql
from tests.support.world import KEY, ORG, TEAM, World


@pytest.fixture
async def world(any_store: str, tmp_path: Path) -> AsyncIterator[World]:
    made = await World.make(tmp_path / "data")
    await made.key()
    await made.key(KEY + 1)
    yield made
    await made.close()


class Host:
    """A host that serves a world: its arena, and a worker's gate."""

    def __init__(self, world: World, arena: Arena) -> None:
        self.world = world
        self.arena = arena
        self.data = DataDir(world.settings.data_dir)
        self.gate = Gate(arena, Journal.private(64, ["echo"]), world.peppers)

    @classmethod
    async def start(cls, world: World) -> "Host":
        return cls(world, await attach.attach(world.settings, world.store))

    async def apply(self) -> None:
        await attach.catch_up_if_live(self.world.settings, self.world.store)

    def enter(self, key: int = KEY) -> int:
        """Answer a key's index, or the negative code of its refusal."""
        header = f"Bearer {self.world.keys[key]}"
        return self.gate.identify(header, "127.0.0.1", Endpoint.CHAT_COMPLETIONS)

    def names(self) -> list[str]:
        return [item.name for item in set_aside.read(self.data, Queue.CHANGES).items]

    async def newest(self) -> int:
        """Return the number of the store's newest change."""
        query = "SELECT CAST(value AS BIGINT) FROM meta WHERE key = 'change_seq'"
        return int(str((await self.world.one(query))[0]))


async def write(world: World, query: str, *values: object) -> None:
    async with world.store.begin() as connection:
        await sql(connection, query, values)


async def bad_price(world: World) -> str:
    await world.price("dear", input=1 << 60, output=0)
    return "the price of dear"


async def bad_list(world: World) -> str:
    await world.scope(Kind.KEY, KEY + 1, allowed_models="{no JSON")
    return text_id(Kind.KEY, KEY + 1)


async def bad_limit(world: World) -> str:
    await world.scope(Kind.KEY, KEY + 1, rpm=-5)
    return text_id(Kind.KEY, KEY + 1)


async def bad_address(world: World) -> str:
    await world.scope(Kind.KEY, KEY + 1, allowed_ips='["10.0.0.0/99"]')
    return text_id(Kind.KEY, KEY + 1)


async def bad_kind(world: World) -> str:
    await world.scope(Kind.KEY, KEY + 1)
    await write(world, "UPDATE changes SET kind = 9 WHERE seq = (SELECT max(seq) FROM changes)")
    seq = (await world.one("SELECT max(seq) FROM changes"))[0]
    return f"change {seq} of kind 9"


async def no_model(world: World) -> str:
    await world.price("", input=1, output=0)
    return "the price of "


POISON = [bad_price, bad_list, bad_limit, bad_address, bad_kind, no_model]


@pytest.mark.parametrize("poison", POISON, ids=lambda poison: poison.__name__)
async def test_a_revocation_behind_it_is_in_force(world: World, poison: Any) -> None:
    host = await Host.start(world)
    name = await poison(world)
    await world.scope(Kind.KEY, KEY, status=Status.REVOKED)
    await host.apply()
    assert host.enter() == -Code.KEY_REVOKED
    assert host.names() == [name]
    assert host.arena.applied == await host.newest()


@pytest.mark.parametrize("poison", POISON, ids=lambda poison: poison.__name__)
async def test_a_start_succeeds_with_what_fits(world: World, poison: Any) -> None:
    name = await poison(world)
    host = await Host.start(world)
    assert host.enter() >= 0
    assert host.names() == ([] if name.startswith("change") else [name])


async def test_an_older_policy_does_not_go_on(world: World) -> None:
    host = await Host.start(world)
    assert host.enter(KEY + 1) >= 0
    await bad_list(world)
    await host.apply()
    assert host.enter(KEY + 1) == -Code.KEY_REVOKED
    await world.scope(Kind.KEY, KEY + 1, allowed_models="[]")
    await host.apply()
    assert host.enter(KEY + 1) >= 0
    assert host.names() == []


async def test_an_older_price_does_not_go_on(world: World) -> None:
    """A price that nobody meant any more would bill wrongly: without one a budget refuses."""
    await world.price("m", input=1_000_000, output=0)
    await world.scope(Kind.KEY, KEY, cap=10**9)
    host = await Host.start(world)
    assert isinstance(host.gate.admit(host.enter(), "m", 0, 0, 4, 0, 1, False), int)
    await write(world, "UPDATE prices SET input = ? WHERE model = 'm'", 1 << 60)
    await world.scope(Kind.ORG, ORG)
    await write(
        world, "UPDATE changes SET kind = 0, model = 'm' WHERE seq = (SELECT max(seq) FROM changes)"
    )
    await host.apply()
    refusal: Any = host.gate.admit(host.enter(), "m", 0, 0, 4, 0, 1, False)
    assert refusal.code == Code.MODEL_PRICE_UNKNOWN


async def test_what_hangs_on_it_comes_with_it(world: World) -> None:
    """A key whose team cannot be read is refused as unknown, and works once the team is mended."""
    await write(world, "UPDATE teams SET rpm = -1 WHERE id = ?", TEAM)
    host = await Host.start(world)
    assert host.enter() == -Code.KEY_UNKNOWN
    assert len(host.names()) == 3
    await world.scope(Kind.TEAM, TEAM, rpm=None)
    await host.apply()
    await attach.try_again(host.arena, world.store, host.data)
    assert host.enter() >= 0
    assert host.names() == []


async def test_a_full_arena_holds_up_nobody(tmp_path: Path) -> None:
    world = await World.make(tmp_path / "data", capacity=16)
    for id in range(KEY, KEY + 13):
        await world.key(id)
    host = await Host.start(world)
    await world.key(KEY + 99)
    seq = await host.newest()
    with pytest.raises(ConfigurationError, match=r"is set aside, for the arena holds 16 scopes"):
        await attach.catch_up_if_live(world.settings, world.store, range(seq, seq + 1))
    await attach.catch_up_if_live(world.settings, world.store, range(1, seq))
    await world.scope(Kind.KEY, KEY, status=Status.REVOKED)
    await host.apply()
    assert host.enter() == -Code.KEY_REVOKED
    assert host.enter(KEY + 99) == -Code.KEY_UNKNOWN
    attach.detach(world.settings)
    assert (await Host.start(world)).names() == host.names() != []
    await world.close()


async def test_a_start_with_too_many_keys_serves_some(tmp_path: Path) -> None:
    world = await World.make(tmp_path / "data", capacity=16)
    for id in range(KEY, KEY + 20):
        await world.key(id)
    host = await Host.start(world)
    assert sorted(host.enter(id) >= 0 for id in world.keys) == [False] * 7 + [True] * 13
    assert len(host.names()) == 7
    await world.close()


async def test_what_the_list_leaves_out_is_found_at_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(set_aside, "MOST", 2)
    world = await World.make(tmp_path / "data", capacity=16)
    for id in range(KEY, KEY + 18):
        await world.key(id, allowed_models="no JSON" if id > KEY + 12 else "[]")
    host = await Host.start(world)
    kept = set_aside.read(host.data, Queue.CHANGES)
    assert (len(kept.items), kept.unlisted, kept.total) == (2, 3, 5)
    await write(world, "UPDATE keys SET allowed_models = '[]', status = 1")
    attach.detach(world.settings)
    host = await Host.start(world)
    assert {item.reason[:20] for item in set_aside.read(host.data, Queue.CHANGES).items} == {
        "the arena holds 16 s"
    }
    await world.close()


async def test_a_removed_price_makes_room_for_one_that_waits(world: World) -> None:
    for number in range(MAX_PRICES + 1):
        await world.price(f"m{number}", input=1_000_000, output=0)
    host = await Host.start(world)
    (name,) = host.names()
    await write(world, "DELETE FROM prices WHERE model = 'm7'")
    await world.scope(Kind.ORG, ORG)
    await write(
        world,
        "UPDATE changes SET kind = 0, model = 'm7' WHERE seq = (SELECT max(seq) FROM changes)",
    )
    await host.apply()
    assert host.names() == []
    await world.scope(Kind.KEY, KEY, cap=10**9)
    await host.apply()
    model = name.removeprefix("the price of ")
    assert isinstance(host.gate.admit(host.enter(), model, 0, 0, 4, 0, 1, False), int)
    refusal: Any = host.gate.admit(host.enter(), "m7", 0, 0, 4, 0, 1, False)
    assert refusal.code == Code.MODEL_PRICE_UNKNOWN


@pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.campaign)])
async def test_a_revocation_and_a_restart_do_not_wait_for_a_flood(
    tmp_path: Path, full: bool
) -> None:
    """2,100 prices and 20,000 changes: revocation within 1 s, restart within 10 s."""
    world = await World.make(tmp_path / "data", capacity=65_536)
    await world.key()
    host = await Host.start(world)
    await flood(world, prices=2_100, changes=20_000 if full else 4_000, keys=8_000 if full else 900)
    await world.scope(Kind.KEY, KEY, status=Status.REVOKED)
    begun = time.monotonic()
    await host.apply()
    assert time.monotonic() - begun < 1
    assert host.enter() == -Code.KEY_REVOKED
    assert len(host.names()) == 2_100 - MAX_PRICES
    note = host.data.note()
    assert note is not None
    for anew in (False, True):  # the arena is taken over, and made anew
        attach.detach(world.settings)
        if anew:
            Path(note.path).unlink()
        begun = time.monotonic()
        again = await Host.start(world)
        assert time.monotonic() - begun < 10
        assert again.enter() == -Code.KEY_REVOKED
        assert len(again.names()) == 2_100 - MAX_PRICES
    await world.close()


async def flood(world: World, prices: int, changes: int, keys: int) -> None:
    """Write prices, and changes of many keys, as an attacker's calls would have."""
    async with world.store.begin() as connection:
        seq = int((await sql(connection, "SELECT max(seq) FROM changes")).scalar_one())
        for number in range(prices):
            seq += 1
            row = (f"m{number}", seq)
            await sql(
                connection,
                "INSERT INTO prices (model, input, output, version) VALUES (?, 1, 0, ?)",
                row,
            )
            await sql(
                connection,
                "INSERT INTO changes (seq, kind, id, model) VALUES (?, 0, 0, ?)",
                row[::-1],
            )
        for number in range(keys):
            await sql(
                connection,
                "INSERT INTO keys (id, org_id, team_id, name, digest, pepper_id, last4, version) "
                "VALUES (?, 1, 2, 'k', ?, 1, 'abcd', 1)",
                (10**6 + number, number.to_bytes(32, "big")),
            )
        for number in range(changes):
            seq += 1
            await sql(
                connection,
                "INSERT INTO changes (seq, kind, id) VALUES (?, 4, ?)",
                (seq, 10**6 + number % keys),
            )
        await sql(connection, "UPDATE meta SET value = ? WHERE key = 'change_seq'", (str(seq),))


def test_items_are_named_once_and_keep_their_time(tmp_path: Path) -> None:
    data = DataDir(tmp_path).prepare()
    set_aside.update(data, Queue.ROWS, [Item("a", "first", seq=7)])
    before = set_aside.read(data, Queue.ROWS).items[0]
    set_aside.update(data, Queue.ROWS, [Item("b", "x"), Item("a", "second")])
    a = set_aside.read(data, Queue.ROWS).items[1]
    assert (a.reason, a.seq, a.at_ms) == ("second", 7, before.at_ms)
    assert before.at_ms > 0
    set_aside.update(data, Queue.ROWS, [], {"a", "b", "never"})
    assert set_aside.read(data, Queue.ROWS).total == 0
    assert list(data.set_aside.iterdir()) == []


def test_a_directory_that_takes_no_file_stops_nothing(tmp_path: Path) -> None:
    data = DataDir(tmp_path).prepare()
    data.set_aside.write_text("no directory")
    set_aside.update(data, Queue.CHANGES, [Item("a", "x")])
    assert set_aside.read(data, Queue.CHANGES).total == 0
    data.set_aside.unlink()
    data.set_aside.mkdir()
    (data.set_aside / "changes.json").write_bytes(msgspec.json.encode({"items": 5}))
    assert set_aside.read(data, Queue.CHANGES).total == 0
