"""Test that the migrations make the schema, whole or not at all."""

import asyncio
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from nemorouter.datadir.locks import Flock
from nemorouter.datadir.paths import DataDir
from nemorouter.errors import ConfigurationError
from nemorouter.settings import Settings
from nemorouter.store import migrate
from nemorouter.store.engine import Store, backend_of
from nemorouter.store.schema import SCHEMA_VERSION, VERSION_TABLE, metadata
from nemorouter.store.sqlite import database_path, store_version
from tests.support.sql import sql


async def test_migrated_store_equals_the_schema(store: Store) -> None:
    async with store.read() as connection:
        assert await connection.run_sync(_differences) == []


def _differences(connection: Connection) -> list[Any]:
    def ours(item: Any, name: str | None, kind: str, *_: object) -> bool:
        if kind == "index":
            return str(item.info.get("dialect", connection.dialect.name)) == connection.dialect.name
        return kind != "table" or not str(name).startswith("requests_week_")

    options: dict[str, Any] = {
        "compare_type": True,
        "compare_server_default": True,
        "include_object": ours,
        "version_table": VERSION_TABLE,
    }
    context = MigrationContext.configure(connection, opts=options)
    assert int(context.get_current_revision() or 0) == SCHEMA_VERSION
    return list(compare_metadata(context, metadata))


async def test_a_failed_migration_leaves_nothing(
    place: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = migrate.run

    def broken(connection: Connection) -> None:
        run(connection)
        raise RuntimeError("power cut")

    monkeypatch.setattr(migrate, "run", broken)
    with pytest.raises(RuntimeError):
        await Store.open(place, migrate=True)
    assert await backend_of(place).version() == 0
    monkeypatch.undo()
    await (await Store.open(place, migrate=True)).close()


async def test_a_migration_waits_for_another(settings: Settings) -> None:
    path = database_path(settings)
    lock = Flock.attempt(DataDir(settings.data_dir).prepare().root / "nemorouter.db.lock")
    assert lock is not None
    with lock:
        opening = asyncio.create_task(Store.open(settings, migrate=True))
        await asyncio.sleep(0.3)
        assert not opening.done()
        assert store_version(path) == 0
    await (await opening).close()
    assert store_version(path) == SCHEMA_VERSION


async def test_a_layout_before_the_first_release_is_refused(store: Store, home: Settings) -> None:
    async with store.begin() as connection:
        await sql(connection, "ALTER TABLE schema_version RENAME TO alembic_version")
        await sql(connection, "UPDATE alembic_version SET version_num = '0007'")
    for migrates in (False, True):
        with pytest.raises(ConfigurationError, match="made by a development version") as caught:
            await Store.open(home, migrate=migrates)
        assert "\n" not in str(caught.value)
    async with store.read() as connection:
        found = (await sql(connection, "SELECT version_num FROM alembic_version")).scalar()
    assert found == "0007"
