"""Keep the store in PostgreSQL, for many hosts.

Writers of the control plane take turns under one advisory lock. No wait is without a limit: a
frozen server, a lost connection and a host that died with a lock each have theirs. The password of
the URL stays in this module.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qs, urlsplit

import asyncpg
from sqlalchemy import Connection, ExceptionContext, NullPool, event
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from nemorouter.datadir.paths import DataDir
from nemorouter.errors import ConfigurationError, ContentionError, StoreAwayError, StoreError
from nemorouter.settings import Settings
from nemorouter.store import ledger_postgres
from nemorouter.store.backend import Dialect, draft_layout
from nemorouter.store.schema import DRAFT_VERSION_TABLE, VERSION_TABLE, metadata

if TYPE_CHECKING:
    from nemorouter._core import RefusalCount, Row

T = TypeVar("T")
CONNECT_S: Final = 10.0
COMMAND_S: Final = (
    30.0  # a server that is silent for so long is given up, and asked again on a new connection
)
_TRIES: Final = 8
_LOCK: Final = 0x4E45_4D4F_0001  # of writers; the first half is "NEMO"
_MIGRATION_LOCK: Final = 0x4E45_4D4F_0002
_SESSION: Final = {
    "application_name": "nemorouter",
    "lock_timeout": "10s",
    # A host that froze or vanished in a transaction must not keep its locks from the others.
    "idle_in_transaction_session_timeout": "30s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
    "tcp_user_timeout": "30s",
}
_UNREACHABLE: Final = "PostgreSQL cannot be reached; start it, or mend database_url or the network."
_MEANINGS: Final = (  # by the beginning of the SQLSTATE
    ("28", "PostgreSQL refuses the user or the password of database_url."),
    ("3D000", "There is no such database in PostgreSQL; create the one that database_url names."),
    ("3F000", "There is no schema to create tables in; check search_path."),
    ("42501", "The user of database_url lacks rights; make it the owner of its database."),
    ("25006", "PostgreSQL is read-only, as a replica is; let database_url name the primary."),
    ("53100", "The disk of PostgreSQL is full; make room on it."),
    ("53300", "PostgreSQL has no connection left; raise its max_connections."),
    ("55P03", "The store is locked by another program; try again, or end what holds it."),
    ("57014", "PostgreSQL took too long and was cut short; try again."),
)
_AWAY: Final = ("57P", "08")
_CONTENTION: Final = ("40001", "40P01")  # serialization failure, deadlock
_AGAIN: Final = (*_CONTENTION, "23514")  # and a week of the log that another host dropped


class Postgres:
    """The database named by ``postgresql://…``, as libpq reads it."""

    dialect: Dialect = "postgresql"

    def __init__(self, settings: Settings) -> None:
        self._url = settings.database_url
        self._data = DataDir(settings.data_dir)
        self._ledger: ledger_postgres.Ledger | None = None
        self._plain: asyncpg.Connection | None = None  # the ledger's
        self.place = _place(self._url)

    async def version(self) -> int:
        return await self._once(partial(_version, place=self.place))

    async def look(self, query: str) -> list[tuple[Any, ...]]:
        async def rows(connection: asyncpg.Connection) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in await connection.fetch(query)]

        return await self._once(rows)

    async def _once(self, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        """On a connection for this alone."""
        connection = await self._connect(COMMAND_S)
        try:
            return await work(connection)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise self.explain(error) or error from error
        finally:
            connection.terminate()

    async def migrate(self, work: Callable[[Connection], None]) -> None:
        engine = self._engine(None, poolclass=NullPool)
        try:
            async with engine.begin() as connection:
                # One transaction: a migration is there whole, or not at all. It waits as long as
                # another one takes.
                await connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
                await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
                await connection.run_sync(work)
        finally:
            await engine.dispose()

    def check(self) -> None:
        """Check that the server accepts writes; a read-only server reports it."""

    def engine(self) -> AsyncEngine:
        return self._engine(COMMAND_S, pool_pre_ping=True)

    def _engine(self, command_s: float | None, **options: Any) -> AsyncEngine:
        async def connect() -> asyncpg.Connection:
            return await self._connect(command_s)

        engine = create_async_engine(
            "postgresql+asyncpg://", async_creator=connect, hide_parameters=True, **options
        )
        event.listen(engine.sync_engine, "handle_error", _give_up)
        return engine

    async def _connect(self, command_s: float | None) -> asyncpg.Connection:
        try:
            connection = await asyncpg.connect(
                self._url, timeout=CONNECT_S, command_timeout=command_s, server_settings=_SESSION
            )
            # The sum of a column of whole numbers is a "numeric", and a whole number still.
            await connection.set_type_codec(
                "numeric", encoder=str, decoder=_number, schema="pg_catalog", format="text"
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise self.explain(error) or error from error
        except (ValueError, asyncpg.exceptions.ClientConfigurationError) as error:
            raise ConfigurationError(
                "database_url is not a URL that PostgreSQL's clients understand."
            ) from error
        return connection

    async def read(self, connection: AsyncConnection) -> None:
        await connection.exec_driver_sql(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
        )

    async def write(self, connection: AsyncConnection) -> None:
        await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")

    async def write_shared(self, connection: AsyncConnection) -> None:
        """Begin a transaction; PostgreSQL does so by itself."""

    async def record(self, rows: Sequence["Row"], refusal_counts: Sequence["RefusalCount"]) -> int:
        """By COPY, on a connection of its own. Where two hosts met, it is tried again.

        An error may come after the commit: the same rows change nothing when they come again.
        """
        for attempt in range(_TRIES):
            try:
                return await self._record(rows, refusal_counts)
            except asyncpg.PostgresError as error:
                if error.sqlstate not in _AGAIN or attempt == _TRIES - 1:
                    raise
        raise AssertionError

    async def _record(self, rows: Sequence["Row"], refusal_counts: Sequence["RefusalCount"]) -> int:
        if self._ledger is None:
            self._ledger = ledger_postgres.Ledger(self._data.host_number())
        if self._plain is None or self._plain.is_closed():
            self._plain = await self._connect(COMMAND_S)
        well = False
        try:
            fresh = await self._ledger.write(self._plain, rows, refusal_counts)
            well = True
        except asyncpg.PostgresError as error:
            well = error.sqlstate in _AGAIN  # it said no, and can be asked again
            raise
        finally:
            if not well:
                self._drop()
        return fresh

    def _drop(self) -> None:
        if self._plain is not None:
            self._plain.terminate()
            self._plain = None

    async def close(self) -> None:
        self._drop()

    def explain(self, error: BaseException) -> Exception | None:
        if isinstance(error, IntegrityError):
            return None
        if isinstance(error, DBAPIError):
            error = error.orig if error.orig is not None else error
        elif not isinstance(
            error, asyncpg.PostgresError | asyncpg.InterfaceError | OSError | TimeoutError
        ):
            return None
        elif isinstance(error, asyncpg.DataError):
            return None  # one of the ledger's rows cannot be held: the store itself is well
        state = getattr(error, "sqlstate", None) or ""
        if state in _CONTENTION:
            return ContentionError("Two writers of the store met; the same again will do.")
        if not state or state.startswith(_AWAY):  # no word from the server: the connection itself
            return StoreAwayError(_UNREACHABLE)
        for sign, meaning in _MEANINGS:
            if state.startswith(sign):
                return StoreError(meaning)
        return StoreError(f"The store failed: {type(error).__name__}, SQLSTATE {state}.")

    def change_stamp(self) -> tuple[int, ...]:
        return ()


def _give_up(context: ExceptionContext) -> None:
    """Discard a connection whose statement got no answer in time: its state is unknown."""
    if isinstance(context.original_exception, TimeoutError | asyncpg.InterfaceError | OSError):
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = False
        raise StoreAwayError(_UNREACHABLE) from context.original_exception


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() else float(text)


def _place(url: str) -> str:
    """Return the URL without user, password and options."""
    try:
        parts = urlsplit(url)
        host = (
            parts.netloc.rpartition("@")[2] or parse_qs(parts.query).get("host", ["localhost"])[0]
        )
    except ValueError:
        raise ConfigurationError("database_url is not a URL.") from None
    return f"postgresql://{host}/{parts.path.lstrip('/')}"


async def _version(connection: asyncpg.Connection, place: str) -> int:
    tables = {
        row[0]
        for row in await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        )
    }
    if VERSION_TABLE not in tables:
        if {DRAFT_VERSION_TABLE, "meta", "changes"} <= tables:
            raise draft_layout(place)
        if tables & metadata.tables.keys():
            raise ConfigurationError(
                f"{place} holds tables of another program; name a database of nemorouter's own."
            )
        return 0
    found = await connection.fetchval(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608
    if found is None:
        return 0
    if "meta" not in tables or not str(found).isdigit():
        raise ConfigurationError(
            f"{place} is a database of another program; name a database of nemorouter's own."
        )
    return int(found)
