"""The doctor: finds what was broken, names how to mend it, and changes nothing."""

import asyncio
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from nemorouter.arena import attach
from nemorouter.datadir import set_aside
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.set_aside import Item, Queue
from nemorouter.services.operations.check import Check
from nemorouter.services.operations.doctor import examine
from nemorouter.services.transaction.context import Context
from nemorouter.settings import Settings
from nemorouter.store.sqlite import database_path
from tests.support.installation import end_serving
from tests.support.servers import free_port
from tests.support.sql import sql


def found(settings: Settings, name: str) -> Check:
    return next(check for check in examine(settings) if check.name == name)


@pytest.fixture
def settings(settings: Settings, context: Context) -> Settings:
    return msgspec.structs.replace(settings, port=free_port())


def test_a_sound_set_up(settings: Settings) -> None:
    before = sorted(path.name for path in settings.data_dir.iterdir())
    assert [check.name for check in examine(settings) if check.state == "fail"] == []
    assert sorted(path.name for path in settings.data_dir.iterdir()) == before


def test_nothing_there(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "none")
    assert found(settings, "data directory").state == "fail"
    assert "nemorouter init" in (found(settings, "store").mend or "")
    assert not settings.data_dir.exists()


def test_an_open_directory(settings: Settings) -> None:
    settings.data_dir.chmod(0o755)
    assert found(settings, "data directory").mend == f"Run `chmod 700 {settings.data_dir}`."


@pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)
def test_a_damaged_store(settings: Settings) -> None:
    path = database_path(settings)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (pages,) = db.execute("PRAGMA page_count").fetchone()
    content = bytearray(path.read_bytes())
    size = len(content) // pages
    content[size * 3 : size * 40] = b"\xff" * (size * 37)
    path.write_bytes(content)
    assert any(check.state == "fail" and "damaged" in check.finding for check in examine(settings))


async def test_a_newer_store(settings: Settings, context: Context) -> None:
    async with context.store.begin() as connection:
        await sql(connection, "UPDATE schema_version SET version_num = '0099'")
    assert "newer" in ((await asyncio.to_thread(found, settings, "store")).mend or "")


def test_wrong_secrets(settings: Settings) -> None:
    settings.pepper_path.write_text(f"1 {'ab' * 32}\n")
    assert "does not belong to this store" in found(settings, "secrets").finding


def test_a_port_in_use(settings: Settings) -> None:
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", settings.port))
        other.listen()
        assert found(settings, "port").state == "fail"


async def test_a_clock_that_went_back(settings: Settings, context: Context) -> None:
    async with context.store.begin() as connection:
        await sql(connection, "UPDATE audit SET at_ms = at_ms + 86400000")
    assert (await asyncio.to_thread(found, settings, "clock")).state == "fail"


def test_a_journal_that_was_set_aside(settings: Settings) -> None:
    (settings.data_dir / "journal").mkdir(exist_ok=True)
    (settings.data_dir / "journal" / "00000000000000ff.damaged").touch()
    assert "00000000000000ff.damaged" in found(settings, "journals set aside").finding


async def test_a_server_without_a_drainer_and_a_dead_journal(
    settings: Settings, context: Context
) -> None:
    await attach.attach(settings, context.store)
    try:
        await attach.new_journal(settings, ["echo"])  # dropped at once: its worker is dead
        assert (await asyncio.to_thread(found, settings, "arena")).state == "ok"
        assert (await asyncio.to_thread(found, settings, "drainer")).state == "fail"
    finally:
        end_serving(settings)
    assert (await asyncio.to_thread(found, settings, "journals")).state == "warn"


def test_what_is_set_aside_is_named(settings: Settings) -> None:
    """Row P1 of the attacks: doctor said that all is well."""
    data = DataDir(settings.data_dir)
    assert found(settings, "set aside").state == "ok"
    items = [Item(f"the price of m{n}", "the table is full") for n in range(7)]
    set_aside.update(data, Queue.CHANGES, items)
    check = found(settings, "changes set aside")
    assert check.state == "fail"
    assert check.finding.startswith("7 changes cannot be applied")
    assert "the price of m6 (the table is full)" in check.finding
    assert check.finding.endswith("; and 2 more.")
    assert "prices delete" in (check.mend or "")
    set_aside.update(data, Queue.ROWS, [Item("row 1", "too large")])
    assert str(data.set_aside / "rows.json") in (found(settings, "rows set aside").mend or "")
