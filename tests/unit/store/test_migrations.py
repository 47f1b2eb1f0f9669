"""The migrations make the schema, whole or not at all."""

import asyncio
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from nemorouter.datadir import DataDir, Flock
from nemorouter.settings import Settings
from nemorouter.store import migrate
from nemorouter.store.backend import backend_of
from nemorouter.store.engine import Store
from nemorouter.store.schema import SCHEMA_VERSION, metadata
from nemorouter.store.sqlite import database_path, store_version


async def test_migrated_store_equals_the_schema(store: Store) -> None:
    async with store.read() as connection:
        assert await connection.run_sync(_differences) == []


def _differences(connection: Connection) -> list[Any]:
    def ours(_table: object, name: str | None, kind: str, *_: object) -> bool:
        return kind != "table" or not str(name).startswith("requests_week_")

    options: dict[str, Any] = {"compare_type": True, "compare_server_default": True, "include_object": ours}
    context = MigrationContext.configure(connection, opts=options)
    assert int(context.get_current_revision() or 0) == SCHEMA_VERSION
    return list(compare_metadata(context, metadata))


async def test_a_failed_migration_leaves_nothing(place: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
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
