"""The migrations make the schema, whole or not at all."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from nemorouter.datadir.locks import Flock
from nemorouter.datadir.paths import DataDir
from nemorouter.settings import Settings
from nemorouter.store import migrate
from nemorouter.store.engine import Store, backend_of
from nemorouter.store.ledger import record
from nemorouter.store.schema import SCHEMA_VERSION, metadata
from nemorouter.store.sqlite import database_path, store_version
from tests.support.rows import AT, a_row


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


async def test_the_log_keeps_its_rows_when_its_order_changes(settings: Settings) -> None:
    """From layout 7, whose log lay by (boot, seq), and back."""
    store = await Store.open(settings, migrate=True)
    await record(store, [a_row(seq, at=AT - seq % 3, boot=seq % 2) for seq in range(50)])
    there = await _log(store)
    assert len(there) == 50
    async with store.begin() as connection:
        await connection.run_sync(_downgrade, "0007")
        listed: Any = await connection.exec_driver_sql(
            "SELECT name FROM sqlite_master WHERE type = 'index'"
        )
        indexes = set(listed.scalars())
    assert {"ix_requests_at_ms", "ix_requests_key_id_at_ms", "ix_requests_org_id_at_ms"} < indexes
    assert await _log(store) == there
    await store.close()
    store = await Store.open(settings, migrate=True)
    assert await _log(store) == there
    assert (
        await record(store, [a_row(seq, at=AT - seq % 3, boot=seq % 2) for seq in range(51)]) == 1
    )
    async with store.read() as connection:
        assert await connection.run_sync(_differences) == []
        (verdict,) = (await connection.exec_driver_sql("PRAGMA integrity_check")).scalars()
    assert verdict == "ok"
    await store.close()


async def _log(store: Store) -> list[Any]:
    async with store.read() as connection:
        return list(
            (await connection.exec_driver_sql("SELECT * FROM requests ORDER BY boot, seq")).all()
        )


def _downgrade(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.downgrade(config, revision)
