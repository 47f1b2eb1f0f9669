"""The drainer's thread: elected, heard of, hard to kill, and the last to leave."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from nemorouter.datadir.locks import Flock
from nemorouter.drainer import thread as drainer_module
from nemorouter.drainer.thread import Drainer
from nemorouter.ledger.retain import retain
from nemorouter.store.ledger import record
from nemorouter.store.sums import DAY_MS
from tests.support.desk import Desk, everywhere, in_each_ledger
from tests.support.rows import AT, a_row
from tests.support.sql import sql
from tests.support.world import KEY


async def until(true: Callable[[], bool], deadline_s: float = 30.0) -> None:
    end = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.005)


async def test_it_drains_tells_and_stops(desk: Desk) -> None:
    drainer = Drainer(desk.world.settings)
    assert not drainer.healthy
    drainer.start()
    desk.ask(9)
    await until(lambda: desk.journal.free_slots == 64)
    await until(lambda: drainer.healthy)
    desk.ask(1)
    drainer.stop()
    assert await desk.ledger() == (10, 70)
    status = drainer.status
    assert status is not None
    assert (status.rows, status.applied, status.error) == (10, desk.arena.applied, "")
    assert Flock.attempt(desk.data.drainer_lock) is not None


async def test_one_of_many_drains_and_another_takes_over(desk: Desk) -> None:
    script = (
        "import sys, pathlib\nfrom nemorouter.drainer.thread import Drainer\n"
        "from nemorouter.settings import Settings\n"
        "Drainer(Settings.load(data_dir=pathlib.Path(sys.argv[1]), capacity=4096)).start()\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(desk.data.root)]
    heir = Drainer(desk.world.settings)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as first:
        await until(lambda: heir.healthy)
        heir.start()
        desk.ask(3)
        await until(lambda: desk.journal.free_slots == 64)
        status = heir.status
        assert status is not None
        assert status.pid == first.pid
        first.kill()
        first.wait()
        desk.ask(3)
        await until(lambda: desk.journal.free_slots == 64)
    heir.stop()
    assert await desk.ledger() == (6, 42)
    assert desk.committed() == everywhere(42)


async def test_it_outlives_errors_of_the_store(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    drainer = Drainer(desk.world.settings)
    with monkeypatch.context() as patch:
        in_each_ledger(patch, "_DAY", "INSERT INTO nowhere VALUES (?)")
        drainer.start()
        desk.ask(4)
        await until(lambda: drainer.status is not None and bool(drainer.status.error))
        assert not drainer.healthy
        assert desk.journal.free_slots == 60
    await until(lambda: desk.journal.free_slots == 64)
    await until(lambda: drainer.healthy)
    drainer.stop()
    assert await desk.ledger() == (4, 28)


async def test_it_outlives_what_nobody_thought_of(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drainer_module, "_BACKOFF_S", (0.01,))
    drainer = Drainer(desk.world.settings)
    with monkeypatch.context() as patch:
        in_each_ledger(patch, "sums", lambda _: 1 // 0)
        drainer.start()
        desk.ask(4)
        await until(lambda: drainer._failures > 1)
    await until(lambda: desk.journal.free_slots == 64)
    drainer.stop()
    assert await desk.ledger() == (4, 28)


async def test_whoever_leaves_last_drains(desk: Desk) -> None:
    """Another process held the lock until now: stop() takes it and works once more."""
    held = Flock.attempt(desk.data.drainer_lock)
    assert held is not None
    drainer = Drainer(desk.world.settings)
    drainer.start()
    desk.ask(2)
    held.release()
    drainer.stop()
    assert await desk.ledger() == (2, 14)


async def test_a_stopped_drainer_leaves_no_thread(desk: Desk) -> None:
    drainer = Drainer(desk.world.settings)
    drainer.start()
    drainer.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "nemorouter-drainer"]


@pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)
async def test_retention_drops_old_rows_and_changes_no_sum(desk: Desk) -> None:
    store = desk.world.store
    rows = [a_row(seq, at=AT + seq * DAY_MS) for seq in range(10)]
    await record(store, rows)
    async with store.begin() as connection:
        await sql(connection, f"INSERT INTO refusals VALUES ({AT // 60_000}, {KEY}, 4, 1)")
    sums = await desk.world.all("SELECT * FROM spend_daily")
    now = AT + 10 * DAY_MS
    assert await retain(store, 5, now, batch=3)
    assert await retain(store, 5, now, batch=3) is False
    assert await retain(store, 5, now, batch=3) is False
    assert await desk.world.all("SELECT seq FROM requests ORDER BY seq") == [
        (seq,) for seq in range(5, 10)
    ]
    assert await desk.world.all("SELECT * FROM refusals") == []
    assert await desk.world.all("SELECT * FROM spend_daily") == sums
