"""The door to the store: open, check, migrate, begin, read, close.

Everything that SQLite can say about a bad file, a full disk or a lock leaves here as one of our errors.
"""

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import URL, event
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from nemorouter.errors import ConfigurationError, StoreError
from nemorouter.settings import Settings
from nemorouter.store.schema import SCHEMA_VERSION

APPLICATION_ID: Final = 0x4E45_4D4F  # "NEMO": tells our file from another program's
BUSY_TIMEOUT_MS: Final = 10_000
_WRITE: Final = "nemorouter_write"
T = TypeVar("T")


class Store:
    """An open store. It belongs to the event loop that opened it."""

    def __init__(self, engine: AsyncEngine, path: Path) -> None:
        self._engine = engine
        self._writer = engine.execution_options(**{_WRITE: True})
        self._turn = asyncio.Lock()  # SQLite has one writer: waiting here is fairer than polling its lock
        self._plain: sqlite3.Connection | None = None
        self._plain_lock = threading.Lock()  # a visit goes on when whoever waits for it is cancelled
        self.path = path

    @classmethod
    async def open(cls, settings: Settings, *, migrate: bool) -> "Store":
        """Open the store of ``settings``; with ``migrate`` make it, or bring it up to date, first.

        ConfigurationError: not our file, a newer version, an older one without ``migrate``, no rights, no room.
        """
        path = database_path(settings)
        if migrate and store_version(path) < SCHEMA_VERSION:
            from nemorouter.store.migrate import upgrade  # Alembic costs half a second: only when there is work

            await upgrade(settings, path)
        _require_current(path)
        return cls(_engine(path), path)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that may write (BEGIN IMMEDIATE); commits at the end, rolls back on an exception."""
        with _Translated():
            async with self._turn, self._writer.begin() as connection:
                yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads: one consistent view of the store."""
        with _Translated():
            async with self._engine.begin() as connection:
                yield connection

    async def in_thread(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """One transaction that may write, in one visit to a thread: ``begin`` pays a visit for each statement.

        Commits at the end, rolls back on an exception.
        """
        with _Translated():
            async with self._turn:
                return await asyncio.to_thread(self._visit, work)

    def _visit(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._plain_lock:
            if self._plain is None:
                self._plain = sqlite3.connect(
                    self.path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None, check_same_thread=False
                )
                _prepare(self._plain)
            connection = self._plain
            connection.execute("BEGIN IMMEDIATE")
            try:
                answer = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return answer

    async def close(self) -> None:
        await self._engine.dispose()
        with self._plain_lock:
            if self._plain is not None:
                self._plain.close()
                self._plain = None


class _Translated:
    """Database errors become StoreError; a violated constraint passes, for the caller knows what it means."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DBAPIError) and not isinstance(error, IntegrityError):
            raise StoreError(explain(error.orig if error.orig is not None else error)) from error
        if isinstance(error, sqlite3.Error) and not isinstance(error, sqlite3.IntegrityError):
            raise StoreError(explain(error)) from error


def explain(error: BaseException) -> str:
    """What a database error means and how to mend it, in one line without values."""
    text = str(error).lower()
    for sign, meaning in (
        ("locked", "The store is locked by another program; try again, or end what holds it."),
        ("busy", "The store is locked by another program; try again, or end what holds it."),
        ("readonly", "The store is read-only; give the user that runs nemorouter write access to it."),
        ("disk is full", "The disk of the store is full; make room on it."),
        ("disk i/o error", "The disk of the store failed; check it before going on."),
        ("unable to open", "The store cannot be opened; check that its directory exists and may be written."),
        ("not a database", "The file of the store is not a SQLite database."),
        ("malformed", "The store is damaged; restore a backup."),
    ):
        if sign in text:
            return meaning
    return f"The store failed: {type(error).__name__}."


def database_path(settings: Settings) -> Path:
    """The file named by ``sqlite:///<path>``."""
    path = settings.database_url.removeprefix("sqlite:///")
    if not path or path.startswith(":"):
        raise ConfigurationError("database_url: an in-memory store cannot be shared; name a file.")
    return Path(path).absolute()


def store_version(path: Path) -> int:
    """Number of the layout of the store at ``path``; 0 if there is none yet. ConfigurationError if it is not ours."""
    if not path.exists() or path.stat().st_size == 0:
        return 0
    try:
        with closing(sqlite3.connect(path.as_uri() + "?mode=ro", uri=True, timeout=BUSY_TIMEOUT_MS / 1000)) as db:
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            (owner,) = db.execute("PRAGMA application_id").fetchone()
            if owner != APPLICATION_ID and (owner or tables):
                raise ConfigurationError(f"{path} is a database of another program; name another file.")
            if "alembic_version" not in tables:
                return 0
            row = db.execute("SELECT version_num FROM alembic_version").fetchone()
            return int(row[0]) if row else 0
    except (sqlite3.Error, OSError) as error:
        raise ConfigurationError(f"{path}: {explain(error)}") from error


def _require_current(path: Path) -> None:
    version = store_version(path)
    if version > SCHEMA_VERSION:
        raise ConfigurationError(
            f"{path} was written by a newer nemorouter (layout {version}, this program knows {SCHEMA_VERSION}); "
            "install that version, or restore a backup made before."
        )
    if version == 0:
        raise ConfigurationError(f"There is no store at {path}; run `nemorouter init` or `nemorouter serve` first.")
    if version < SCHEMA_VERSION:
        raise ConfigurationError(f"{path} has an old layout; run `nemorouter db upgrade`.")
    if not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK):
        raise ConfigurationError(f"{path}: {explain(sqlite3.OperationalError('readonly'))}")


def _engine(path: Path) -> AsyncEngine:
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "isolation_level": None},  # we say BEGIN ourselves
        hide_parameters=True,  # an exception must not print digests or hashes
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _connected(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's connection
        _prepare(connection)

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:  # noqa: ANN401 - a sync Connection
        write = connection.get_execution_options().get(_WRITE)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _prepare(connection: Any) -> None:  # noqa: ANN401 - of any driver
    cursor = connection.cursor()
    for pragma in (
        "journal_mode = WAL",
        # A revocation that was acknowledged, and rows that the drainer freed, outlive a power cut.
        "synchronous = FULL",
        "foreign_keys = ON",
        "temp_store = MEMORY",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
