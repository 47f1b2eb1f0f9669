"""Test a store in PostgreSQL: weeks of the log come and go, and errors are explained."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from nemorouter.errors import ContentionError, StoreAwayError, StoreError
from nemorouter.ledger.retain import retain
from nemorouter.settings import Settings
from nemorouter.store.engine import Store
from nemorouter.store.ledger import record
from nemorouter.store.postgres import Postgres
from nemorouter.store.sums import DAY_MS
from nemorouter.store.weeks import WEEK_MS
from tests.support.rows import a_row
from tests.support.sql import sql
from tests.support.world import KEY, World

WEEK = 2_950
START = WEEK * WEEK_MS
_WEEKS = (
    "SELECT CAST(substring(relname from 15) AS int) FROM pg_inherits JOIN pg_class "
    "ON pg_class.oid = inhrelid "
    "WHERE inhparent = CAST('requests' AS regclass) ORDER BY 1"
)


@pytest.fixture
def store_kind() -> str:
    return "postgresql"


@pytest.fixture
async def world(any_store: str, tmp_path: Path) -> AsyncIterator[World]:
    made = await World.make(tmp_path / "data")
    await made.key()
    yield made
    await made.close()


async def test_a_week_is_made_when_its_first_row_comes(world: World) -> None:
    rows = [
        a_row(seq, at=START + at)
        for seq, at in enumerate((0, WEEK_MS - 1, WEEK_MS, -1, 40 * WEEK_MS))
    ]
    assert await record(world.store, rows) == 5
    assert await world.all(_WEEKS) == [(WEEK - 1,), (WEEK,), (WEEK + 1,), (WEEK + 40,)]
    assert await record(world.store, rows) == 0


async def test_old_weeks_are_dropped_whole_and_no_sum_changes(world: World) -> None:
    rows = [a_row(seq, at=START + seq * DAY_MS) for seq in range(21)]
    await record(world.store, rows, [(START // 60_000, KEY, 4, 1)])
    sums = await world.all("SELECT * FROM spend_daily ORDER BY day")
    assert await retain(world.store, 1, START + 7 * DAY_MS) is False  # its last day is too young
    assert await world.one("SELECT count(*) FROM requests") == (21,)
    now = START + 15 * DAY_MS
    assert await retain(world.store, 1, now)
    assert await retain(world.store, 1, now)
    assert await retain(world.store, 1, now) is False
    assert await world.one("SELECT min(seq), count(*) FROM requests") == (14, 7)
    assert await world.all("SELECT * FROM refusals") == []
    assert await world.all("SELECT * FROM spend_daily ORDER BY day") == sums


async def test_a_row_of_a_week_that_was_dropped_still_counts(world: World) -> None:
    """A host comes back after months; another one has dropped the week meanwhile."""
    await record(world.store, [a_row(1, at=START)])
    await retain(world.store, 1, START + 30 * DAY_MS)
    assert await world.all(_WEEKS) == []
    assert await record(world.store, [a_row(2, at=START)]) == 1
    assert await world.one("SELECT requests FROM spend_daily") == (2,)


async def test_many_may_make_a_week_at_once(world: World, tmp_path: Path) -> None:
    stores = [
        await Store.open(Settings.load(data_dir=tmp_path / f"h{n}"), migrate=True) for n in range(4)
    ]
    lots = [
        [a_row(seq, journal_id=n, at=START + seq * WEEK_MS) for seq in range(6)] for n in range(4)
    ]
    await asyncio.gather(*(record(store, lot) for store, lot in zip(stores, lots, strict=True)))
    assert await world.one("SELECT count(*) FROM requests") == (24,)
    for store in stores:
        await store.close()


async def test_a_name_with_a_nul_does_not_stop_the_ledger(world: World) -> None:
    assert await record(world.store, [a_row(1, model="a\0b"), a_row(2)]) == 2
    assert await world.all("SELECT model FROM requests ORDER BY seq") == [("a\ufffdb",), ("m",)]
    assert await world.one("SELECT count(*) FROM spend_daily") == (2,)


async def test_the_newest_rows_are_found_by_index_week_by_week(world: World) -> None:
    """A page of the log reads the newest weeks first, and none of the rows behind it."""
    await record(world.store, [a_row(week, at=START + week * WEEK_MS) for week in range(4)])
    async with world.store.begin() as connection:
        await sql(
            connection,
            "INSERT INTO requests SELECT week, seq, CAST(week AS bigint) * 604800000 + seq, "
            "seq % 50, 2, 3, "
            "seq % 20, 'm', 'e', 0, 200, "
            f"1, 0, 1, 1, 1, 1, 1, 1, NULL FROM generate_series({WEEK}, {WEEK + 3}) AS w (week), "
            "generate_series(1, 20000) AS s (seq)",
        )
        await sql(connection, "ANALYZE requests")
    query = (
        "EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) SELECT * FROM requests WHERE org_id = 1 "
        "ORDER BY at_ms DESC, journal_id DESC, seq DESC LIMIT 20"
    )
    plan = [str(line) for (line,) in await world.all(query)]
    scans = [line for line in plan if "requests_week" in line]
    assert len(scans) == 4
    assert all("Index Scan Backward" in line for line in scans), plan
    assert ["never executed" in line for line in scans] == [False, True, True, True], plan


@pytest.mark.parametrize(
    ("state", "kind", "says"),
    [
        ("28P01", StoreError, "user or the password"),
        ("3D000", StoreError, "no such database"),
        ("42501", StoreError, "lacks rights"),
        ("25006", StoreError, "read-only"),
        ("53100", StoreError, "disk of PostgreSQL is full"),
        ("53300", StoreError, "no connection left"),
        ("55P03", StoreError, "locked by another"),
        ("57014", StoreError, "took too long"),
        ("57P03", StoreAwayError, "cannot be reached"),
        ("08006", StoreAwayError, "cannot be reached"),
        ("40001", ContentionError, "Two writers"),
        ("40P01", ContentionError, "Two writers"),
        ("XX000", StoreError, "SQLSTATE XX000"),
    ],
)
def test_each_error_says_how_to_mend_it(state: str, kind: type[StoreError], says: str) -> None:
    error = asyncpg.PostgresError("canary")
    error.sqlstate = state
    meaning = Postgres(Settings(database_url="postgresql://u:canary@h/d")).explain(error)
    assert type(meaning) is kind
    assert says in str(meaning)
    assert "canary" not in str(meaning)


@pytest.mark.parametrize(
    "error",
    [ConnectionRefusedError("x"), TimeoutError(), asyncpg.InterfaceError("closed")],
    ids=repr,
)
def test_a_line_without_a_word_is_a_store_that_is_away(error: Exception) -> None:
    assert (
        type(Postgres(Settings(database_url="postgresql://h/d")).explain(error)) is StoreAwayError
    )


def test_what_is_not_the_databases_is_left_to_others() -> None:
    backend = Postgres(Settings(database_url="postgresql://h/d"))
    assert backend.explain(ValueError("x")) is None
    assert backend.explain(KeyboardInterrupt()) is None


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://u:p%40w@db:5433/nemo?sslmode=require", "postgresql://db:5433/nemo"),
        ("postgresql:///nemo?host=/run/postgresql&password=x", "postgresql:///run/postgresql/nemo"),
        ("postgresql://[::1]/nemo", "postgresql://[::1]/nemo"),
    ],
    ids=["tcp", "socket", "v6"],
)
def test_the_place_is_told_without_its_secrets(url: str, place: str) -> None:
    assert Postgres(Settings(database_url=url)).place == place
