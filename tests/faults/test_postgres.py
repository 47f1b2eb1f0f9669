"""Test PostgreSQL away, frozen, restarted, or cut off just when it had committed.

Nothing is lost, nothing counts twice.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nemorouter.arena import attach
from nemorouter.datadir.paths import DataDir
from nemorouter.errors import StoreError
from nemorouter.roles import Actor
from nemorouter.services.operations.bootstrap import init, local_actor
from nemorouter.services.scopes import keys
from nemorouter.services.transaction import chain
from nemorouter.services.transaction.context import Context
from nemorouter.settings import Settings
from nemorouter.store import postgres as postgres_module
from nemorouter.store.engine import Store
from nemorouter.store.ledger import record
from nemorouter.types import Kind
from tests.support.ledger_checks import ledger_is_complete, words_are_true
from tests.support.load import Load, admits
from tests.support.postgres_server import PostgresServer
from tests.support.proxy import Proxy
from tests.support.rows import AT, a_row
from tests.support.servers import free_port
from tests.support.serving import Server
from tests.support.world import KEY, World

LOT = 20
_lots = count(1)


@pytest.fixture
def store_kind() -> str:
    return "postgresql"


@pytest.fixture
async def world(any_store: str, tmp_path: Path) -> AsyncIterator[World]:
    made = await World.make(tmp_path / "data")
    await made.key()
    yield made
    await made.close()


@pytest.fixture
async def proxy(postgres: PostgresServer) -> AsyncIterator[Proxy]:
    async with Proxy(postgres.port) as made:
        yield made


async def through(proxy: Proxy, world: World) -> Store:
    """Open the world's store behind the proxy."""
    parts = world.settings.database_url.rpartition("/")
    url = f"postgresql://nemo@127.0.0.1:{proxy.port}/{parts[2]}"
    return await Store.open(
        msgspec.structs.replace(world.settings, database_url=url), migrate=False
    )


def a_lot() -> tuple[list[Any], list[tuple[int, int, int, int]]]:
    """Rows that were never seen before, and refusals."""
    journal_id = next(_lots)
    return [a_row(seq, journal_id=journal_id) for seq in range(LOT)], [(journal_id, KEY, 4, 3)]


async def books_hold(world: World, lots: int) -> None:
    """``lots`` lots are in the ledger, each once, and all sums agree."""
    assert await world.one("SELECT count(*), sum(cost_nano) FROM requests") == (
        lots * LOT,
        lots * LOT * 5,
    )
    for table, times in (
        ("spend_daily", 1),
        ("spend_month", 1),
        ("spend_scope", 3),
        ("spend_host", 4),
    ):
        found = await world.one(f"SELECT sum(cost_nano) FROM {table}")
        assert found == (lots * LOT * 5 * times,), table
    assert await world.one("SELECT sum(count), count(*) FROM refusals") == (lots * 3, lots)


async def hand_over(store: Store, rows: list[Any], refusal_counts: Any) -> int:
    """Record again and again until it succeeds, as the drainer does; count the failures."""
    for failures in range(20):
        try:
            await record(store, rows, refusal_counts)
        except StoreError:
            continue
        return failures
    raise AssertionError


async def test_a_lot_whose_commit_was_not_heard_of_counts_once(world: World, proxy: Proxy) -> None:
    store = await through(proxy, world)
    await hand_over(store, *a_lot())
    for lots in range(2, 6):
        rows, refusal_counts = a_lot()
        proxy.cut_reply = lambda sent: b"COMMIT;" in sent
        with pytest.raises(StoreError):
            await record(store, rows, refusal_counts)
        await books_hold(world, lots)  # it was committed
        assert await hand_over(store, rows, refusal_counts) == 0
        await books_hold(world, lots)
    assert proxy.cuts == 4
    await store.close()


async def test_new_refusals_behind_a_commit_that_was_not_heard_of(
    world: World, proxy: Proxy
) -> None:
    """The drainer adds those of the next minute to the lot that it could not bring in."""
    store = await through(proxy, world)
    await hand_over(store, a_lot()[0], ())  # it also makes the week, in a transaction of its own
    rows, refusal_counts = a_lot()
    proxy.cut_reply = lambda sent: b"COMMIT;" in sent
    with pytest.raises(StoreError):
        await record(store, rows, refusal_counts)
    assert await hand_over(store, rows, [*refusal_counts, (99, KEY, 4, 1)]) == 0
    found = await world.all("SELECT minute, count FROM refusals ORDER BY minute")
    assert found == sorted([(refusal_counts[0][0], 3), (99, 1)])
    await store.close()


async def test_a_line_that_breaks_after_any_number_of_bytes(world: World, proxy: Proxy) -> None:
    store = await through(proxy, world)
    lots = 0
    broken = 0
    for size in range(1, 3000, 61):
        await store.close()
        store = await through(proxy, world)
        proxy.cut_after = size
        broken += await hand_over(store, *a_lot())
        proxy.cut_after = None
        lots += 1
    assert broken > 10
    await store.close()
    await books_hold(world, lots)


async def test_a_change_whose_commit_was_not_heard_of_is_whole(
    postgres: PostgresServer, proxy: Proxy, tmp_path: Path
) -> None:
    url = postgres.database()
    settings = Settings(data_dir=tmp_path / "data", database_url=url)
    direct = await Context.open(settings, create=True)
    await init(direct, org="Acme", email="owner@acme.test", password_hash=None)
    behind = msgspec.structs.replace(
        settings, database_url=url.replace(str(postgres.port), str(proxy.port))
    )
    context = await Context.open(behind)
    owner: Actor = await local_actor(context)
    for number in range(3):
        proxy.cut_reply = lambda sent: b"COMMIT;" in sent
        with pytest.raises(StoreError):
            await keys.create(context, owner, keys.NewKey(name=f"key {number}"))
        names = [key.name for key in (await keys.list_keys(context, owner)).data]
        assert f"key {number}" in names
    async with direct.store.read() as connection:
        verdict = await chain.verify(connection, direct.audit_key)
    assert verdict.broken_at is None
    await context.close()
    await direct.close()
    postgres.drop(url)


async def test_a_frozen_server_is_given_up_and_asked_again(
    world: World, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_module, "COMMAND_S", 0.5)
    monkeypatch.setattr(postgres_module, "CONNECT_S", 0.5)
    store = await Store.open(world.settings, migrate=False)
    await hand_over(store, *a_lot())
    async with store.read():
        pass
    postgres.freeze()
    try:
        for _ in range(2):
            begun = time.monotonic()
            rows, refusal_counts = a_lot()
            with pytest.raises(StoreError, match="cannot be reached"):
                await record(store, rows, refusal_counts)
            with pytest.raises(StoreError, match="cannot be reached"):
                async with store.read():
                    pass
            assert time.monotonic() - begun < 6
    finally:
        postgres.thaw()
    assert await hand_over(store, rows, refusal_counts) <= 2
    async with store.begin():
        pass
    await store.close()
    await books_hold(world, 2)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
async def test_a_restarted_server_is_found_again(how: signal.Signals, tmp_path: Path) -> None:
    server = PostgresServer()
    try:
        settings = Settings(data_dir=tmp_path / "data", database_url=server.database())
        store = await Store.open(settings, migrate=True)
        async with store.read():
            pass
        server.stop(how)
        for _ in range(2):
            with pytest.raises(StoreError, match="cannot be reached"):
                await record(store, [a_row(1)])
            with pytest.raises(StoreError, match="cannot be reached"):
                async with store.begin():
                    pass
        server.start()
        assert await record(store, [a_row(1, at=AT)]) == 1
        async with store.begin():
            pass
        await store.close()
    finally:
        server.remove()


async def test_hosts_that_drain_at_once_never_wait_in_a_ring(world: World, tmp_path: Path) -> None:
    """Four hosts, the same keys and days in other orders, while services write to the same keys."""
    ids = range(KEY + 1, KEY + 9)
    for id in ids:
        await world.key(id)
    stores = [
        await Store.open(Settings.load(data_dir=tmp_path / f"h{n}"), migrate=True) for n in range(4)
    ]

    async def drain(number: int, store: Store) -> None:
        for lot in range(12):
            order = [*ids][:: 1 if (lot + number) % 2 else -1]
            rows = [
                a_row(seq, journal_id=1000 + number, key=id)
                for seq, id in enumerate(order, lot * len(ids))
            ]
            assert await record(store, rows, [(lot, id, 4, 1) for id in order]) == len(ids)

    async def change() -> None:
        for round in range(6):
            for id in [*ids][:: 1 if round % 2 else -1]:
                await world.scope(Kind.KEY, id, name=f"round {round}")

    await asyncio.gather(*(drain(number, store) for number, store in enumerate(stores)), change())
    rows = 4 * 12 * len(ids)
    assert await world.one("SELECT count(*), sum(cost_nano) FROM requests") == (rows, rows * 5)
    assert await world.one("SELECT sum(requests), sum(cost_nano) FROM spend_daily") == (
        rows,
        rows * 5,
    )
    by_host = await world.all(
        "SELECT host, sum(cost_nano) FROM spend_host WHERE kind = 4 GROUP BY host"
    )
    assert [spent for _, spent in by_host] == [rows * 5 // 4] * 4
    assert await world.one("SELECT sum(count), count(*) FROM refusals") == (rows, 12 * len(ids))
    for store in stores:
        await store.close()


async def successor(gateway: Server) -> None:
    """Wait for two workers again, beside the drainer, which holds the dead one's journal."""
    end = time.monotonic() + 5
    while True:
        status = DataDir(gateway.settings.data_dir).drainer_status()
        assert status is not None
        if len(set(gateway.workers()) - {status.pid}) == 2:
            return
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        pytest.param("frozen", 3.0, id="frozen"),
        pytest.param("stopped", 3.0, id="stopped"),
        pytest.param("crashed", 3.0, id="crashed"),
        *(
            pytest.param(name, 60.0, id=f"{name}-for-a-minute", marks=pytest.mark.campaign)
            for name in ("frozen", "stopped", "crashed")
        ),
    ],
)
async def test_requests_go_on_while_the_store_is_away(
    fault: str, seconds: float, tmp_path: Path
) -> None:
    """Under load, and a worker dies meanwhile: its successor admits without the store."""
    server = PostgresServer()
    settings: dict[str, Any] = {
        "workers": 2,
        "port": free_port(),
        "log_level": "error",
        "journal_slots": 65_536,
    }
    world = await World.make(tmp_path / "data", database_url=server.database(), **settings)
    for id in range(KEY, KEY + 5):
        await world.key(id, cap=10**12)
    await world.price("echo", input=1_000_000, output=3_000_000)
    load = Load(world)
    try:
        async with Server(world.settings) as gateway:
            tasks = [asyncio.create_task(load.run(seed)) for seed in range(6)]
            await asyncio.sleep(0.5)
            begun = time.monotonic()
            server.freeze() if fault == "frozen" else server.stop(
                signal.SIGQUIT if fault == "crashed" else signal.SIGINT
            )
            try:
                await asyncio.sleep(0.5)
                answered = len(load.answered)
                gateway.kill_worker()
                assert await admits(world) < 1
                await successor(gateway)
                await asyncio.sleep(begun + seconds - time.monotonic())
                assert len(load.answered) > answered + 100 * seconds / 3
            finally:
                server.thaw() if fault == "frozen" else server.start()
            await asyncio.sleep(0.5)
            load.over = True
            await asyncio.gather(*tasks)
        arena = await attach.attach(world.settings, world.store)
        await ledger_is_complete(world, load.answered)
        await words_are_true(world, arena)
        assert DataDir(world.settings.data_dir).journal_paths() == []
    finally:
        await world.close()
        server.remove()
