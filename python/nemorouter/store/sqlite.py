"""Keep the store in a SQLite file: one writer at a time, durable at every commit.

Only its owner can read the file. Everything that SQLite can report about a bad file, a full disk or
a lock leaves this module as one of our errors.
"""

import asyncio
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from nemorouter.errors import ConfigurationError, StoreError
from nemorouter.settings import Settings
from nemorouter.store import ledger_sqlite
from nemorouter.store.backend import Dialect, draft_layout
from nemorouter.store.schema import DRAFT_VERSION_TABLE, VERSION_TABLE

if TYPE_CHECKING:
    from nemorouter._core import RefusalCount, Row

APPLICATION_ID: Final = 0x4E45_4D4F  # "NEMO": tells our file from another program's
BUSY_TIMEOUT_MS: Final = 10_000
_NO_ROOM: Final = 1 << 20
"""Bytes: with less, an error of the disk is one of its room."""


class Sqlite:
    """The file named by ``sqlite:///<path>``."""

    dialect: Dialect = "sqlite"

    def __init__(self, settings: Settings) -> None:
        self.path = database_path(settings)
        self.place = str(self.path)
        self._opened: sqlite3.Connection | None = None

    async def version(self) -> int:
        return store_version(self.path)

    async def look(self, query: str) -> list[tuple[Any, ...]]:
        try:
            with closing(
                sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, timeout=10)
            ) as db:
                return db.execute(query).fetchall()
        except sqlite3.Error as error:
            raise StoreError(explain(error, self.path)) from error

    async def migrate(self, work: Callable[[Connection], None]) -> None:
        await asyncio.to_thread(self._migrate, work)

    def _migrate(self, work: Callable[[Connection], None]) -> None:
        with _lock(self.path):
            _create(self.path)
            engine = create_engine(
                URL.create("sqlite", database=self.place),
                connect_args={"timeout": BUSY_TIMEOUT_MS / 1000},
            )
            try:
                with engine.begin() as connection:
                    # One transaction: a migration is there whole, or not at all.
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                    work(connection)
            finally:
                engine.dispose()

    def check(self) -> None:
        if not os.access(self.path, os.W_OK) or not os.access(self.path.parent, os.W_OK):
            raise ConfigurationError(
                f"{self.path}: {explain(sqlite3.OperationalError('readonly'), self.path)}"
            )

    def engine(self) -> AsyncEngine:
        engine = create_async_engine(
            URL.create("sqlite+aiosqlite", database=self.place),
            connect_args={
                "timeout": BUSY_TIMEOUT_MS / 1000,
                "isolation_level": None,
            },  # we say BEGIN ourselves
            hide_parameters=True,  # an exception must not print digests or hashes
        )
        event.listen(engine.sync_engine, "connect", _prepare)
        return engine

    async def read(self, connection: AsyncConnection) -> None:
        await connection.exec_driver_sql("BEGIN")

    async def write(self, connection: AsyncConnection) -> None:
        await connection.exec_driver_sql("BEGIN IMMEDIATE")

    async def write_shared(self, connection: AsyncConnection) -> None:
        await self.write(connection)

    async def record(self, rows: Sequence["Row"], refusal_counts: Sequence["RefusalCount"]) -> int:
        """Write journal rows and refusal counts in one transaction; return how many rows were new.

        It blocks the loop, which is the drainer's own: a visit of a thread would cost as much as a
        hundred rows.
        """
        connection = self._plain
        connection.execute("BEGIN IMMEDIATE")
        try:
            fresh = ledger_sqlite.write(connection, rows, refusal_counts)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return fresh

    @property
    def _plain(self) -> sqlite3.Connection:
        """The ledger's connection."""
        if self._opened is None:
            uri = f"{self.path.as_uri()}?mode=rw"
            connection = sqlite3.connect(
                uri, uri=True, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None
            )
            _prepare(connection)
            self._opened = connection
        return self._opened

    async def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def explain(self, error: BaseException) -> Exception | None:
        if isinstance(error, DBAPIError) and not isinstance(error, IntegrityError):
            return StoreError(explain(error.orig if error.orig is not None else error, self.path))
        if isinstance(error, sqlite3.IntegrityError | sqlite3.DataError | sqlite3.InterfaceError):
            return None  # one of the ledger's rows cannot be held: the store itself is well
        if isinstance(error, sqlite3.Error):
            return StoreError(explain(error, self.path))
        return None

    def change_stamp(self) -> tuple[int, ...]:
        return tuple(
            self._plain.execute("PRAGMA data_version").fetchone()
        )  # the ledger's own commits leave it


def explain(error: BaseException, path: Path) -> str:
    """Return what an error of the database at ``path`` means and how to mend it, in one line.

    The line contains no values of the database.
    """
    text = str(error).lower()
    if "disk i/o error" in text and _is_full(path.parent):
        text = "disk is full"  # SQLite says so of its tables, but not of its shared memory
    for sign, meaning in (
        ("locked", "The store is locked by another program; try again, or end what holds it."),
        ("busy", "The store is locked by another program; try again, or end what holds it."),
        (
            "readonly",
            "The store is read-only; give the user that runs nemorouter write access to it.",
        ),
        ("disk is full", "The disk of the store is full; make room on it."),
        ("disk i/o error", "The disk of the store failed; check it before going on."),
        (
            "unable to open",
            "The store cannot be opened; check that its directory exists and may be written.",
        ),
        ("not a database", "The file of the store is not a SQLite database."),
        ("malformed", "The store is damaged; restore a backup."),
    ):
        if sign in text:
            return meaning
    return f"The store failed: {type(error).__name__}."


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _NO_ROOM
    except OSError:
        return False


def database_path(settings: Settings) -> Path:
    """Return the file named by ``sqlite:///<path>``."""
    path = settings.database_url.removeprefix("sqlite:///")
    if not path or path.startswith(":"):
        raise ConfigurationError("database_url: an in-memory store cannot be shared; name a file.")
    return Path(path).absolute()


def store_version(path: Path) -> int:
    """Return the number of the layout of the store at ``path``; 0 if there is none yet.

    ConfigurationError: the file is not ours.
    """
    if not path.exists() or path.stat().st_size == 0:
        return 0
    try:
        with closing(
            sqlite3.connect(path.as_uri() + "?mode=ro", uri=True, timeout=BUSY_TIMEOUT_MS / 1000)
        ) as db:
            tables = {
                name
                for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
            (owner,) = db.execute("PRAGMA application_id").fetchone()
            if owner != APPLICATION_ID and (owner or tables):
                raise ConfigurationError(
                    f"{path} is a database of another program; name another file."
                )
            if VERSION_TABLE not in tables:
                if DRAFT_VERSION_TABLE in tables:
                    raise draft_layout(str(path))
                return 0
            row = db.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608
            return int(row[0]) if row else 0
    except (sqlite3.Error, OSError) as error:
        raise ConfigurationError(f"{path}: {explain(error, path)}") from error


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    try:
        file = os.open(
            path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        raise ConfigurationError(
            f"The store cannot be made at {path}: {error.strerror}."
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _create(path: Path) -> None:
    """Make the file, readable by its owner only, and mark it as ours before it has a table."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000)) as db:
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute("PRAGMA journal_mode = WAL")
    except OSError as error:
        raise ConfigurationError(
            f"The store cannot be made at {path}: {error.strerror}."
        ) from error
    except sqlite3.Error as error:
        raise StoreError(explain(error, path)) from error


def _prepare(connection: Any, _record: object = None) -> None:  # noqa: ANN401 - of any driver
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
