"""Journal rows in the store: each counts once, and sums, log and last use never disagree."""

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from nemorouter._core import Row
from nemorouter.datadir.paths import DataDir
from nemorouter.errors import StoreError
from nemorouter.reference import values as reference
from nemorouter.store.journals import move
from nemorouter.store.ledger import open_windows, record, total_spend, window_spend
from nemorouter.store.schema import requests
from nemorouter.store.sums import DAY_MS, window_days
from nemorouter.types import Duration, Kind
from tests.support.desk import in_each_ledger
from tests.support.rows import AT, DAY, a_row
from tests.support.world import KEY, ORG, TEAM, USER, World


@pytest.fixture
async def world(any_store: str, tmp_path: Path) -> AsyncIterator[World]:
    made = await World.make(tmp_path / "data")
    await made.key()
    yield made
    await made.close()


class Slots:
    """A journal of given rows, that remembers what was freed."""

    def __init__(self, rows: list[Row]) -> None:
        self.kept = rows

    def rows(self, limit: int) -> list[Row]:
        return self.kept[:limit]

    def free(self, slots: list[int]) -> None:
        self.kept = [row for row in self.kept if row.slot not in slots]


def test_names_of_a_row_are_columns_of_the_log() -> None:
    """Native, reference and schema name the same fields in the same order."""
    assert ("slot", *(column.name for column in requests.columns)) == Row.__match_args__
    assert reference.Row._fields == Row.__match_args__


async def test_a_row_is_in_log_sum_and_last_use(world: World) -> None:
    assert await record(world.store, [a_row(1), a_row(2, cost=None, at=AT + 7)]) == 2
    log = await world.all(
        "SELECT seq, upstream, model, cost_nano, ttft_us, stream, outcome FROM requests "
        "ORDER BY seq"
    )
    assert log == [(1, "echo", "m", 5, None, 1, 1), (2, "echo", "m", None, None, 1, 1)]
    assert await world.all("SELECT * FROM spend_daily") == [
        (DAY, ORG, TEAM, USER, KEY, "m", 2, 20, 4, 6, 5, 1)
    ]
    assert await world.one("SELECT last_used_ms FROM keys") == (AT + 7,)


async def test_a_row_that_comes_again_changes_nothing(world: World) -> None:
    rows = [a_row(seq) for seq in range(10)]
    assert await record(world.store, rows[:6]) == 6
    before = await world.all("SELECT * FROM spend_daily")
    assert await record(world.store, rows[:6]) == 0
    assert await world.all("SELECT * FROM spend_daily") == before
    assert await record(world.store, [*rows, rows[9], a_row(1, journal_id=78)]) == 5
    assert await world.one("SELECT count(*), sum(cost_nano) FROM requests") == (11, 55)
    assert await world.one("SELECT sum(requests), sum(cost_nano) FROM spend_daily") == (11, 55)


async def test_many_rows_of_which_some_come_again(world: World) -> None:
    """More than one statement's, of two journals, with some that are there in each."""
    rows = [a_row(seq, journal_id=77 + seq % 2, at=AT - seq * 7 % 5) for seq in range(300)]
    assert await record(world.store, rows[40:170]) == 130
    assert await record(world.store, rows) == 170
    assert await record(world.store, rows) == 0
    assert await world.one(
        "SELECT count(*), sum(cost_nano), count(DISTINCT seq) FROM requests"
    ) == (300, 1500, 300)
    assert await world.one("SELECT sum(requests), sum(cost_nano) FROM spend_daily") == (300, 1500)


async def test_a_late_row_does_not_turn_last_use_back(world: World) -> None:
    await record(world.store, [a_row(1, at=AT), a_row(2, at=AT - 9)])
    await record(world.store, [a_row(3, at=AT - 5)])
    assert await world.one("SELECT last_used_ms FROM keys") == (AT,)


async def test_drain_frees_only_what_is_committed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal: Any = Slots([a_row(seq) for seq in range(5)])
    with monkeypatch.context() as patch:
        in_each_ledger(patch, "_DAY", "INSERT INTO nowhere VALUES (?)")
        with pytest.raises(StoreError):
            await move(world.store, DataDir(world.settings.data_dir), [journal])
    assert len(journal.kept) == 5
    assert await world.one("SELECT count(*) FROM requests") == (0,)
    assert await move(world.store, DataDir(world.settings.data_dir), [journal], limit=3) == 3
    assert [row.seq for row in journal.kept] == [3, 4]
    assert await move(world.store, DataDir(world.settings.data_dir), [journal]) == 2
    assert await move(world.store, DataDir(world.settings.data_dir), [journal]) == 0
    assert await world.one("SELECT count(*) FROM requests") == (5,)


async def test_a_crash_between_commit_and_free_counts_once(world: World) -> None:
    journal: Any = Slots([a_row(seq) for seq in range(5)])

    def crash(_: list[int]) -> None:
        raise KeyboardInterrupt

    journal.free = crash
    with pytest.raises(KeyboardInterrupt):
        await move(world.store, DataDir(world.settings.data_dir), [journal])
    del journal.free
    assert await move(world.store, DataDir(world.settings.data_dir), [journal]) == 5
    assert await world.one("SELECT count(*), sum(cost_nano) FROM requests") == (5, 25)
    assert await world.one("SELECT sum(requests), sum(cost_nano) FROM spend_daily") == (5, 25)


async def test_refusals_add_up(world: World) -> None:
    await move(
        world.store, DataDir(world.settings.data_dir), [], [(5, KEY, 11, 3), (5, KEY, 12, 1)]
    )
    await move(world.store, DataDir(world.settings.data_dir), [], [(5, KEY, 11, 4)])
    assert await world.all("SELECT * FROM refusals ORDER BY code") == [
        (5, KEY, 11, 7),
        (5, KEY, 12, 1),
    ]


async def test_spend_by_window_and_in_total(world: World) -> None:
    await world.key(KEY + 1)
    days = count(1)
    rows = [a_row(next(days), at=(DAY + day) * DAY_MS, cost=10**day) for day in range(4)]
    other = a_row(9, key=KEY + 1, cost=7)
    await record(world.store, [*rows, other])
    async with world.store.read() as connection:
        assert await window_spend(connection, Kind.KEY, KEY, DAY + 1, DAY + 3) == 110
        assert await window_spend(connection, Kind.ORG, ORG, DAY, DAY + 1) == 8
        assert await window_spend(connection, Kind.TEAM, 99, 0, 1 << 31) == 0
        assert await total_spend(connection, Kind.KEY, [KEY, KEY + 1, 5]) == {KEY: 1111, KEY + 1: 7}
        assert await total_spend(connection, Kind.USER, [USER]) == {USER: 1118}


async def test_open_windows_are_those_of_each_budget(world: World) -> None:
    await world.scope(Kind.KEY, KEY, cap=1, duration=Duration.DAILY)
    await world.scope(Kind.ORG, ORG, cap=1, duration=Duration.TOTAL)
    rows = [
        a_row(1, at=(DAY - 400) * DAY_MS, cost=1),
        a_row(2, at=(DAY - 1) * DAY_MS, cost=10),
        a_row(3, cost=100),
    ]
    await record(world.store, rows)
    async with world.store.read() as connection:
        found = {
            (entry[0], entry[1]): entry[3]
            async for lot in open_windows(connection, AT)
            for entry in lot
        }
    assert found == {
        (Kind.KEY, KEY): 100,
        (Kind.ORG, ORG): 111,
        (Kind.TEAM, TEAM): 110,
        (Kind.USER, USER): 110,
    }


@pytest.mark.parametrize(
    ("duration", "day", "window"),
    [
        pytest.param(Duration.DAILY, 0, (0, 1), id="daily"),
        pytest.param(Duration.WEEKLY, 3, (-3, 4), id="sunday"),
        pytest.param(Duration.WEEKLY, 4, (4, 11), id="monday"),
        pytest.param(Duration.MONTHLY, 58, (31, 59), id="february-1970"),
        pytest.param(Duration.MONTHLY, 19_782, (19_754, 19_783), id="leap-february"),
        pytest.param(Duration.MONTHLY, 20_818, (20_788, 20_819), id="december"),
        pytest.param(Duration.TOTAL, 5, (0, 1 << 31), id="total"),
    ],
)
def test_windows(duration: Duration, day: int, window: tuple[int, int]) -> None:
    assert window_days(duration, day) == window


@pytest.mark.parametrize("column", ["journal_id", "at_ms", "org_id", "input_tokens", "cost_nano"])
async def test_a_number_that_no_column_holds_is_not_taken_for_a_store_that_is_away(
    world: World, column: str
) -> None:
    """Row R8 of the campaigns: such a row was tried for ever, and all behind it waited."""
    good = a_row(2)
    names = Row.__match_args__
    bad = Row(1 << 63 if name == column else getattr(good, name) for name in names)
    with pytest.raises((ArithmeticError, ValueError, asyncpg.DataError)):
        await record(world.store, [a_row(1), bad])
    assert await record(world.store, [a_row(1)]) == 1
