"""The door to the store, of either kind: what opens, what does not, and how it is said."""

import asyncio

import pytest
from sqlalchemy.exc import IntegrityError

from nemorouter.errors import ConfigurationError
from nemorouter.settings import Settings
from nemorouter.store import engine
from nemorouter.store.engine import Store
from nemorouter.store.schema import SCHEMA_VERSION
from tests.support.sql import sql


async def test_a_second_open_keeps_what_is_there(store: Store, home: Settings) -> None:
    async with store.begin() as connection:
        await sql(connection, "INSERT INTO meta VALUES ('x', 'y')")
    again = await Store.open(home, migrate=True)
    async with again.read() as connection:
        assert (await sql(connection, "SELECT value FROM meta WHERE key = 'x'")).scalar() == "y"
    await again.close()


async def test_many_may_open_a_new_store_at_once(place: Settings) -> None:
    stores = await asyncio.gather(*(Store.open(place, migrate=True) for _ in range(4)))
    async with stores[0].read() as connection:
        assert (
            await sql(connection, "SELECT count(*) FROM meta WHERE key = 'install'")
        ).scalar() == 1
    for one in stores:
        await one.close()


async def test_an_exception_rolls_back(store: Store) -> None:
    async def fail() -> None:
        async with store.begin() as connection:
            await sql(connection, "INSERT INTO meta VALUES ('x', 'y')")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    async with store.read() as connection:
        assert (await sql(connection, "SELECT count(*) FROM meta WHERE key = 'x'")).scalar() == 0


async def test_a_reader_sees_one_instant(store: Store) -> None:
    count = "SELECT count(*) FROM meta"
    async with store.read() as reader:
        before = (await sql(reader, count)).scalar()
        async with store.begin() as writer:
            await sql(writer, "INSERT INTO meta VALUES ('x', 'y')")
        assert (await sql(reader, count)).scalar() == before


async def test_writers_take_turns(store: Store) -> None:
    async def add(number: int) -> None:
        async with store.begin() as connection:
            seen = (
                await sql(connection, "SELECT value FROM meta WHERE key = 'change_seq'")
            ).scalar()
            await asyncio.sleep(0)
            value = str(int(str(seen)) + 1)
            await sql(connection, "UPDATE meta SET value = ? WHERE key = 'change_seq'", (value,))

    await asyncio.gather(*map(add, range(20)))
    async with store.read() as connection:
        assert (
            await sql(connection, "SELECT value FROM meta WHERE key = 'change_seq'")
        ).scalar() == "20"


async def test_a_violated_constraint_is_the_callers(store: Store) -> None:
    with pytest.raises(IntegrityError) as caught:
        async with store.begin() as connection:
            await sql(connection, "INSERT INTO meta VALUES ('install', ?)", ("canary",))
    assert "canary" not in str(caught.value)


async def test_without_migrate_nothing_is_made(place: Settings) -> None:
    with pytest.raises(ConfigurationError, match="There is no store at"):
        await Store.open(place, migrate=False)
    assert not place.data_dir.exists()


async def test_a_newer_store_is_refused_and_left_alone(store: Store, home: Settings) -> None:
    async with store.begin() as connection:
        await sql(connection, "UPDATE schema_version SET version_num = '0099'")
    for migrate in (False, True):
        with pytest.raises(ConfigurationError, match=r"written by a newer nemorouter \(layout 99"):
            await Store.open(home, migrate=migrate)


async def test_an_older_store_asks_for_an_upgrade(
    place: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await Store.open(place, migrate=True)).close()
    monkeypatch.setattr(engine, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    with pytest.raises(ConfigurationError, match="nemorouter db upgrade"):
        await Store.open(place, migrate=False)
