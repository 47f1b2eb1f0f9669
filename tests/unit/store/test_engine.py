"""The door to the store: what opens, what does not, and how it is said."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from nemorouter.errors import ConfigurationError, StoreError
from nemorouter.settings import Settings
from nemorouter.store import engine
from nemorouter.store.engine import Store, database_path, store_version
from nemorouter.store.schema import SCHEMA_VERSION


async def test_a_new_store_is_private_durable_and_ours(store: Store, settings: Settings) -> None:
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store_version(store.path) == SCHEMA_VERSION
    async with store.read() as connection:
        for pragma, value in (("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)):
            assert (await connection.exec_driver_sql(f"PRAGMA {pragma}")).scalar() == value
        install = (await connection.exec_driver_sql("SELECT value FROM meta WHERE key = 'install'")).scalar()
    assert len(bytes.fromhex(str(install))) == 16


async def test_a_second_open_keeps_what_is_there(store: Store, settings: Settings) -> None:
    async with store.begin() as connection:
        await connection.exec_driver_sql("INSERT INTO meta VALUES ('x', 'y')")
    again = await Store.open(settings, migrate=True)
    async with again.read() as connection:
        assert (await connection.exec_driver_sql("SELECT value FROM meta WHERE key = 'x'")).scalar() == "y"
    await again.close()


async def test_many_may_open_a_new_store_at_once(settings: Settings) -> None:
    stores = await asyncio.gather(*(Store.open(settings, migrate=True) for _ in range(4)))
    async with stores[0].read() as connection:
        assert (await connection.exec_driver_sql("SELECT count(*) FROM meta WHERE key = 'install'")).scalar() == 1
    for one in stores:
        await one.close()


async def test_an_exception_rolls_back(store: Store) -> None:
    async def fail() -> None:
        async with store.begin() as connection:
            await connection.exec_driver_sql("INSERT INTO meta VALUES ('x', 'y')")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    async with store.read() as connection:
        assert (await connection.exec_driver_sql("SELECT count(*) FROM meta WHERE key = 'x'")).scalar() == 0


async def test_a_reader_sees_one_instant(store: Store) -> None:
    count = "SELECT count(*) FROM meta"
    async with store.read() as reader:
        before = (await reader.exec_driver_sql(count)).scalar()
        async with store.begin() as writer:
            await writer.exec_driver_sql("INSERT INTO meta VALUES ('x', 'y')")
        assert (await reader.exec_driver_sql(count)).scalar() == before


async def test_writers_take_turns(store: Store) -> None:
    async def add(number: int) -> None:
        async with store.begin() as connection:
            seen = (await connection.exec_driver_sql("SELECT value FROM meta WHERE key = 'change_seq'")).scalar()
            await asyncio.sleep(0)
            value = str(int(str(seen)) + 1)
            await connection.exec_driver_sql("UPDATE meta SET value = ? WHERE key = 'change_seq'", (value,))

    await asyncio.gather(*map(add, range(20)))
    async with store.read() as connection:
        assert (await connection.exec_driver_sql("SELECT value FROM meta WHERE key = 'change_seq'")).scalar() == "20"


async def test_a_violated_constraint_is_the_callers(store: Store) -> None:
    with pytest.raises(IntegrityError) as caught:
        async with store.begin() as connection:
            await connection.exec_driver_sql("INSERT INTO meta VALUES ('install', ?)", ("canary",))
    assert "canary" not in str(caught.value)


async def test_without_migrate_nothing_is_made(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="There is no store at"):
        await Store.open(settings, migrate=False)
    assert not settings.data_dir.exists()


async def test_a_newer_store_is_refused_and_left_alone(store: Store, settings: Settings) -> None:
    with closing(sqlite3.connect(store.path)) as db, db:
        db.execute("UPDATE alembic_version SET version_num = '0099'")
    for migrate in (False, True):
        with pytest.raises(ConfigurationError, match=r"written by a newer nemorouter \(layout 99"):
            await Store.open(settings, migrate=migrate)


async def test_an_older_store_asks_for_an_upgrade(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    await (await Store.open(settings, migrate=True)).close()
    monkeypatch.setattr(engine, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    with pytest.raises(ConfigurationError, match="nemorouter db upgrade"):
        await Store.open(settings, migrate=False)


@pytest.mark.parametrize("content", ["text", "another program's database"])
async def test_a_foreign_file_is_refused_and_left_alone(content: str, settings: Settings) -> None:
    path = database_path(settings)
    path.parent.mkdir(mode=0o700)
    if content == "text":
        path.write_text("these are my notes, " * 100)
    else:
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("CREATE TABLE recipes (name)")
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=r"not a SQLite database|database of another program"):
        await Store.open(settings, migrate=True)
    assert path.read_bytes() == before


async def test_a_locked_store_says_so(store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 50)
    impatient = await Store.open(settings, migrate=False)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked by another program"):
            async with impatient.begin():
                pass
    async with impatient.begin():
        pass
    await impatient.close()


async def test_a_full_disk_says_so_and_loses_nothing(store: Store) -> None:
    async def fill() -> None:
        async with store.begin() as connection:
            pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar()
            await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
            await connection.exec_driver_sql("INSERT INTO meta VALUES ('big', ?)", ("x" * 1_000_000,))

    with pytest.raises(StoreError, match="disk of the store is full"):
        await fill()
    async with store.begin() as connection:
        assert (await connection.exec_driver_sql("SELECT count(*) FROM meta WHERE key = 'big'")).scalar() == 0
        await connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        await connection.exec_driver_sql("INSERT INTO meta VALUES ('big', ?)", ("x" * 1_000_000,))


async def test_a_data_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(ConfigurationError, match="not a directory"):
        await Store.open(Settings(data_dir=tmp_path / "data"), migrate=True)


def test_an_in_memory_store_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="in-memory"):
        database_path(Settings(database_url="sqlite:///:memory:"))


async def test_a_path_with_signs_that_mean_something_in_a_url(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "a?b#c %20d")
    opened = await Store.open(settings, migrate=True)
    async with opened.begin() as connection:
        await connection.exec_driver_sql("INSERT INTO meta VALUES ('x', 'y')")
    await opened.close()
    assert (tmp_path / "a?b#c %20d" / "nemorouter.db").stat().st_size > 0
