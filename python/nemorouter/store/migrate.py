"""Brings a store to the layout of this program, under a lock. The only module that imports Alembic."""

import asyncio
import fcntl
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import URL, Connection, create_engine, select
from sqlalchemy.exc import DBAPIError

from nemorouter.datadir import DataDir
from nemorouter.errors import ConfigurationError, StoreError
from nemorouter.settings import Settings
from nemorouter.store.engine import APPLICATION_ID, BUSY_TIMEOUT_MS, explain, store_version
from nemorouter.store.schema import SCHEMA_VERSION, meta


async def upgrade(settings: Settings, path: Path) -> None:
    """Make the store at ``path``, or bring it to the newest layout. Safe to call from several processes at once."""
    await asyncio.to_thread(_upgrade, settings, path)


def _upgrade(settings: Settings, path: Path) -> None:
    DataDir(settings.data_dir).prepare()
    with _lock(path):
        if store_version(path) >= SCHEMA_VERSION:
            return  # another process was faster
        _claim(path)
        engine = create_engine(
            URL.create("sqlite", database=str(path)), connect_args={"timeout": BUSY_TIMEOUT_MS / 1000}
        )
        try:
            with engine.begin() as connection:
                # One transaction: a migration is there whole, or not at all.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                run(connection)
                _first_rows(connection)
        except DBAPIError as error:
            raise StoreError(explain(error.orig or error)) from error
        except CommandError as error:
            raise ConfigurationError(f"The store at {path} cannot be migrated: {error}.") from error
        finally:
            engine.dispose()


def run(connection: Connection) -> None:
    """Run the migrations of this package on an open connection."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _first_rows(connection: Connection) -> None:
    there = set(connection.execute(select(meta.c.key)).scalars())
    for key, value in (("install", secrets.token_hex(16)), ("change_seq", "0")):
        if key not in there:
            connection.execute(meta.insert().values(key=key, value=value))


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    try:
        file = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(f"The store cannot be made at {path}: {error.strerror}.") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _claim(path: Path) -> None:
    """Make the file, readable by its owner only, and mark it as ours before the first table is in it."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000)) as db:
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute("PRAGMA journal_mode = WAL")
    except OSError as error:
        raise ConfigurationError(f"The store cannot be made at {path}: {error.strerror}.") from error
    except sqlite3.Error as error:
        raise StoreError(explain(error)) from error
