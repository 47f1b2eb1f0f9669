"""A store in a file: private, durable, ours alone, and clear about what is wrong with it."""

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from nemorouter.errors import ConfigurationError, StoreError
from nemorouter.settings import Settings
from nemorouter.store import sqlite
from nemorouter.store.engine import Store
from nemorouter.store.ledger import record
from nemorouter.store.schema import SCHEMA_VERSION
from nemorouter.store.sqlite import database_path, store_version
from tests.support.rows import a_row
from tests.support.sql import sql


@pytest.fixture
async def file(settings: Settings) -> AsyncIterator[Store]:
    opened = await Store.open(settings, migrate=True)
    yield opened
    await opened.close()


async def test_a_new_store_is_private_durable_and_ours(file: Store, settings: Settings) -> None:
    path = database_path(settings)
    assert path.stat().st_mode & 0o777 == 0o600
    assert store_version(path) == SCHEMA_VERSION
    async with file.read() as connection:
        for pragma, value in (("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)):
            assert (await connection.exec_driver_sql(f"PRAGMA {pragma}")).scalar() == value
        install = (await sql(connection, "SELECT value FROM meta WHERE key = 'install'")).scalar()
    assert len(bytes.fromhex(str(install))) == 16


async def test_the_mark_tells_of_others_writes_and_not_of_the_ledgers(
    file: Store, settings: Settings
) -> None:
    first = file.change_stamp()
    await record(file, [a_row(1)])
    assert file.change_stamp() == first
    async with file.read() as connection:
        await sql(connection, "SELECT count(*) FROM requests")
    assert file.change_stamp() == first
    async with file.begin() as connection:
        await sql(connection, "UPDATE meta SET value = '5' WHERE key = 'change_seq'")
    second = file.change_stamp()
    assert second != first
    with closing(sqlite3.connect(database_path(settings))) as other, other:
        other.execute("UPDATE meta SET value = '6' WHERE key = 'change_seq'")
    assert file.change_stamp() != second


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
    with pytest.raises(
        ConfigurationError, match=r"not a SQLite database|database of another program"
    ):
        await Store.open(settings, migrate=True)
    assert path.read_bytes() == before


async def test_a_locked_store_says_so(
    file: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 50)
    impatient = await Store.open(settings, migrate=False)
    with closing(sqlite3.connect(database_path(settings), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked by another program"):
            async with impatient.begin():
                pass
    async with impatient.begin():
        pass
    await impatient.close()


async def test_a_full_disk_says_so_and_loses_nothing(file: Store) -> None:
    async def fill() -> None:
        async with file.begin() as connection:
            pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar()
            await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
            await sql(connection, "INSERT INTO meta VALUES ('big', ?)", ("x" * 1_000_000,))

    with pytest.raises(StoreError, match="disk of the store is full"):
        await fill()
    async with file.begin() as connection:
        assert (await sql(connection, "SELECT count(*) FROM meta WHERE key = 'big'")).scalar() == 0
        await connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        await sql(connection, "INSERT INTO meta VALUES ('big', ?)", ("x" * 1_000_000,))


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
        await sql(connection, "INSERT INTO meta VALUES ('x', 'y')")
    await opened.close()
    assert (tmp_path / "a?b#c %20d" / "nemorouter.db").stat().st_size > 0


@pytest.mark.parametrize(
    ("free", "meaning"),
    [(4096, "is full; make room on it"), (1 << 30, "failed; check it before going on")],
)
def test_an_error_of_a_disk_without_room_is_one_of_its_room(
    free: int, meaning: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite calls what it cannot allocate in its shared memory an I/O error."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    error = sqlite3.OperationalError("disk I/O error")
    assert sqlite.explain(error, tmp_path / "db") == f"The disk of the store {meaning}."
