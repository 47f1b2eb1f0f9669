"""The migrations make the schema, whole or not at all."""

import asyncio
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from nemorouter.datadir import DataDir, Flock
from nemorouter.settings import Settings
from nemorouter.store import migrate
from nemorouter.store.engine import Store, database_path, store_version
from nemorouter.store.schema import SCHEMA_VERSION, metadata


async def test_migrated_store_equals_the_schema(store: Store) -> None:
    engine = create_engine(f"sqlite:///{store.path}")
    with engine.connect() as connection:
        options: dict[str, Any] = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
        assert int(context.get_current_revision() or 0) == SCHEMA_VERSION
    engine.dispose()


async def test_a_failed_migration_leaves_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    run = migrate.run

    def broken(connection: Connection) -> None:
        run(connection)
        raise RuntimeError("power cut")

    monkeypatch.setattr(migrate, "run", broken)
    with pytest.raises(RuntimeError):
        await Store.open(settings, migrate=True)
    assert store_version(database_path(settings)) == 0
    monkeypatch.undo()
    await (await Store.open(settings, migrate=True)).close()


def test_the_schema_is_fit_for_postgresql() -> None:
    for table in metadata.sorted_tables:
        text = str(CreateTable(table).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
        assert "BIGSERIAL" not in text


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
