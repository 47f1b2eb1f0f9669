"""Test the way from the store to the arena: built whole, taken over with its meters, followed."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from nemorouter._core import Arena, Gate, Journal
from nemorouter.arena import attach, changes
from nemorouter.datadir.locks import Flock, locked
from nemorouter.datadir.paths import DataDir
from nemorouter.errors import Code, ConfigurationError
from nemorouter.store import policies
from nemorouter.store.ledger import record
from nemorouter.store.sums import DAY_MS
from nemorouter.types import Duration, Endpoint, Kind, Status
from tests.support.rows import a_row
from tests.support.sql import sql
from tests.support.world import KEY, ORG, TEAM, USER, World


@pytest.fixture
async def world(any_store: str, tmp_path: Path) -> AsyncIterator[World]:
    made = await World.make(tmp_path / "data")
    await made.key()
    yield made
    await made.close()


def gate_of(world: World, arena: Arena) -> Gate:
    return Gate(arena, Journal.private(64, ["echo"]), world.peppers)


def enter(world: World, gate: Gate, key: int = KEY) -> int:
    return gate.identify(f"Bearer {world.keys[key]}", "127.0.0.1", Endpoint.CHAT_COMPLETIONS)


async def test_attach_builds_all_of_the_store(world: World) -> None:
    await world.price("m", input=1_000_000, output=0)
    await world.scope(Kind.KEY, KEY, cap=500)
    arena = await attach.attach(world.settings, world.store)
    assert arena.scopes == 4
    assert (
        arena.applied
        == (await world.one("SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'change_seq'"))[0]
    )
    gate = gate_of(world, arena)
    index = enter(world, gate)
    who = arena.identity(index)
    assert (who.id, who.team, who.user, who.org, who.name) == (KEY, TEAM, USER, ORG, f"key {KEY}")
    assert isinstance(gate.admit(index, "m", 0, 0, 4, 0, 1, False), int)
    assert arena.meters(index).committed == 1
    assert arena.meters(index).cap == 500


async def test_a_second_attach_takes_over_the_meters(world: World) -> None:
    await world.scope(Kind.KEY, KEY, rpm=2)
    first = await attach.attach(world.settings, world.store)
    index = enter(world, gate_of(world, first))
    assert isinstance(gate_of(world, first).admit(index, "m", 0, 0, 4, 1, 1, False), int)
    attach.detach(world.settings)
    again = await attach.attach(world.settings)
    assert again.meters(index).remaining[0] == 1


async def test_a_new_arena_holds_what_open_windows_spent(world: World) -> None:
    await world.scope(Kind.KEY, KEY, cap=10**6, duration=Duration.TOTAL)
    await world.scope(Kind.ORG, ORG, cap=10**6, duration=Duration.DAILY)
    now = time.time_ns() // 1_000_000
    rows = [a_row(1, at=now, cost=40), a_row(2, at=now - 40 * DAY_MS, cost=2)]
    await record(world.store, rows)
    arena = await attach.attach(world.settings, world.store)
    index = enter(world, gate_of(world, arena))
    assert arena.meters(index).committed == 42
    spent = {
        kind: arena.meters(arena.find(kind, id) or 0).committed
        for kind, id in ((Kind.ORG, ORG), (Kind.TEAM, TEAM))
    }
    assert spent == {Kind.ORG: 40, Kind.TEAM: 40}


async def test_a_new_arena_charges_what_was_admitted_in_the_last_period(world: World) -> None:
    await world.scope(Kind.KEY, KEY, rpm=10)
    await world.scope(Kind.TEAM, TEAM, tpm=40)
    await world.scope(Kind.ORG, ORG, rpm=10)
    now = time.time_ns() // 1_000_000
    rows = [a_row(1, at=now), a_row(2, at=now - 30_000), a_row(3, at=now - 61_000)]
    await record(world.store, rows)
    arena = await attach.attach(world.settings, world.store)
    key = enter(world, gate_of(world, arena))
    team, org = (arena.find(kind, id) for kind, id in ((Kind.TEAM, TEAM), (Kind.ORG, ORG)))
    assert team is not None
    assert org is not None
    boot_us = gate_of(world, arena).now_us()
    requests, tokens = (
        [arena.meters(i, boot_us).remaining[r] for i in (key, team, org)] for r in (0, 1)
    )
    assert requests == [8, None, 8]
    left = tokens[1]
    assert left is not None
    assert 40 - 2 * 13 <= left < 40 - 13, "the tokens of two rows, and what came back meanwhile"


async def test_changes_reach_a_live_arena_before_the_call_returns(world: World) -> None:
    arena = await attach.attach(world.settings, world.store)
    gate = gate_of(world, arena)
    await world.key(KEY + 1)
    await world.scope(Kind.KEY, KEY, status=Status.REVOKED, revoked_ms=1)
    assert enter(world, gate) >= 0
    await attach.catch_up_if_live(world.settings, world.store)
    assert enter(world, gate) == -Code.KEY_REVOKED
    assert enter(world, gate, KEY + 1) >= 0


async def test_without_a_server_a_change_needs_nobody(world: World) -> None:
    await attach.catch_up_if_live(world.settings, world.store)
    assert attach.live(world.settings) is None


async def test_catch_up_in_bulk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    arena = await attach.attach(world.settings, world.store)
    monkeypatch.setattr(changes, "_BATCH", 4)
    monkeypatch.setattr(policies, "_SOME", 3)
    for id in range(KEY + 1, KEY + 10):
        await world.key(id)
    await attach.catch_up(arena, world.store, DataDir(world.settings.data_dir))
    assert all(enter(world, gate_of(world, arena), id) >= 0 for id in world.keys)


async def test_a_foreign_arena_in_use_is_never_replaced(world: World) -> None:
    first = await attach.attach(world.settings, world.store)
    other = msgspec.structs.replace(world.settings, capacity=8192)
    with pytest.raises(ConfigurationError, match="running server"):
        await attach.attach(other, world.store)
    assert enter(world, gate_of(world, first)) >= 0
    attach.detach(world.settings)
    assert (await attach.attach(other, world.store)).capacity == 8192


async def test_a_process_that_serves_keeps_its_arena(world: World) -> None:
    script = (
        "import asyncio, sys, pathlib\nfrom nemorouter.arena import attach\n"
        "from nemorouter.settings import Settings\n"
        "asyncio.run(attach.attach(Settings.load(data_dir=pathlib.Path(sys.argv[1]), "
        "capacity=4096)))\n"
        "print('serving', flush=True)\nsys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(world.settings.data_dir)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert "serving\n" in iter(child.stdout.readline, "")
        note = DataDir(world.settings.data_dir).note()
        assert note is not None
        Path(note.path).unlink()
        with pytest.raises(ConfigurationError, match="running server"):
            await attach.attach(world.settings, world.store)
        child.kill()
    assert (await attach.attach(world.settings, world.store)).scopes == 4


async def test_a_restored_backup_is_not_mixed_with_newer_memory(world: World) -> None:
    await attach.attach(world.settings, world.store)
    attach.detach(world.settings)
    async with world.store.begin() as connection:
        await sql(connection, "UPDATE meta SET value = '1' WHERE key = 'change_seq'")
        await sql(connection, "DELETE FROM changes WHERE seq > 1")
    assert (await attach.attach(world.settings, world.store)).applied == 1


async def test_dead_journals_are_in_the_ledger_before_a_new_arena(world: World) -> None:
    await world.price("m", input=1_000_000, output=0)
    script = (
        "import asyncio, os, sys, pathlib\nfrom nemorouter.arena import attach\n"
        "from nemorouter._core import Gate\n"
        "from nemorouter.settings import Settings\n"
        "from nemorouter.datadir.secrets import load_peppers\n"
        f"s = Settings.load(data_dir=pathlib.Path({str(world.settings.data_dir)!r}), "
        "capacity=4096)\n"
        "arena = asyncio.run(attach.attach(s))\n"
        "journal = asyncio.run(attach.new_journal(s, ['echo']))\n"
        "gate = Gate(arena, journal, load_peppers(s.pepper_path))\n"
        "index = gate.identify('Bearer ' + sys.argv[1], '127.0.0.1', 0)\n"
        "gate.settle(gate.admit(index, 'm', 0, 0, 4, 0, 1, False), 7, 0, 0, 200, 1, 1, None)\n"
        "gate.admit(index, 'm', 0, 0, 40, 0, 1, False)\nos._exit(9)\n"
    )
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script, world.keys[KEY]], check=False
    )
    assert done.returncode == 9
    data = DataDir(world.settings.data_dir)
    note = data.note()
    assert note is not None
    Path(note.path).unlink()
    arena = await attach.attach(world.settings, world.store)
    assert data.journal_paths() == []
    assert await world.all("SELECT cost_nano, outcome FROM requests ORDER BY seq") == [
        (7, 1),
        (10, 5),
    ]
    assert arena.meters(enter(world, gate_of(world, arena))).committed == 17


async def test_a_change_waits_for_a_server_out_of_reach(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attach, "_ANSWER_DEADLINE_S", 0.02)
    data = DataDir(world.settings.data_dir).prepare()
    other = Flock.attempt(data.serve_lock, shared=True)
    assert other is not None
    with other, pytest.raises(ConfigurationError, match="did not confirm"):
        await attach.catch_up_if_live(world.settings, world.store)
    await attach.catch_up_if_live(world.settings, world.store)


async def test_policy_is_written_by_one_at_a_time(world: World) -> None:
    arena = await attach.attach(world.settings, world.store)
    data = DataDir(world.settings.data_dir)
    await world.key(KEY + 1)
    async with locked(data.policy_lock):
        task = asyncio.create_task(attach.catch_up(arena, world.store, data))
        await asyncio.sleep(0.02)
        assert enter(world, gate_of(world, arena), KEY + 1) == -Code.KEY_UNKNOWN
    await task
    assert enter(world, gate_of(world, arena), KEY + 1) >= 0
