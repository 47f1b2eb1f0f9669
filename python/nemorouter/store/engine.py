"""Open, check, migrate, read and write the store.

What only one kind of database knows lies in its backend. Every error of a database becomes one of
ours.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter.datadir.paths import DataDir
from nemorouter.errors import ConfigurationError
from nemorouter.settings import Settings
from nemorouter.store.backend import Backend, Dialect
from nemorouter.store.schema import SCHEMA_VERSION
from nemorouter.store.sqlite import Sqlite

if TYPE_CHECKING:
    from nemorouter._core import RefusalCount, Row


class Store:
    """An open store. It belongs to the event loop that opened it."""

    def __init__(self, backend: Backend, data: DataDir) -> None:
        self._backend = backend
        self._engine = backend.engine()
        self._turn = (
            asyncio.Lock()
        )  # one writer: waiting here is fairer than polling the database's lock
        self._data = data

    @classmethod
    async def open(cls, settings: Settings, *, migrate: bool) -> "Store":
        """Open the store of ``settings``; with ``migrate`` make it, or bring it up to date, first.

        ConfigurationError: not ours, a newer version, an older one without ``migrate``, no rights,
        no room. StoreError: it cannot be reached.
        """
        backend = backend_of(settings)
        if migrate:
            DataDir(settings.data_dir).prepare()  # the secrets lie there, wherever the store is
        version = await backend.version()
        if migrate and version < SCHEMA_VERSION:
            # Alembic costs half a second, so it is imported only when there is work.
            from nemorouter.store.migrate import upgrade

            await upgrade(backend)
            version = await backend.version()
        _require_current(version, backend)
        return cls(backend, DataDir(settings.data_dir))

    @classmethod
    def open_lazily(cls, settings: Settings) -> "Store":
        """Make a store that is opened when it is first used.

        The caller knows that the store is there and current.
        """
        return cls(backend_of(settings), DataDir(settings.data_dir))

    @property
    def dialect(self) -> Dialect:
        return self._backend.dialect

    @cached_property
    def host(self) -> int:
        """Number of this host in the ledger: its data directory's, drawn once."""
        return self._data.host_number()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """Open a write transaction that is alone.

        It commits at the end, and rolls back on an exception.
        """
        async with self._turn, self._transaction(self._backend.write) as connection:
            yield connection

    @asynccontextmanager
    async def write_shared(self) -> AsyncIterator[AsyncConnection]:
        """Open a write transaction that may run beside others (PostgreSQL).

        The caller must lock every row it reads in order to write it.
        """
        async with self._transaction(self._backend.write_shared) as connection:
            yield connection

    async def record(self, rows: Sequence["Row"], refusal_counts: Sequence["RefusalCount"]) -> int:
        """Write journal rows and counts of refusals in one transaction.

        The answer is how many rows were new.
        """
        with _Translated(self._backend):
            async with self._turn:
                return await self._backend.record(rows, refusal_counts)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that only reads: one consistent view of the store."""
        async with self._transaction(self._backend.read) as connection:
            yield connection

    @asynccontextmanager
    async def _transaction(
        self, first: Callable[[AsyncConnection], Awaitable[None]]
    ) -> AsyncIterator[AsyncConnection]:
        with _Translated(self._backend):
            async with self._engine.begin() as connection:
                await first(connection)
                yield connection

    def change_stamp(self) -> tuple[int, ...]:
        """Return a value that changes when another writer than ``record`` writes.

        It is empty where the store itself has to be asked.
        """
        with _Translated(self._backend):
            return self._backend.change_stamp()

    async def close(self) -> None:
        await self._engine.dispose()
        await self._backend.close()


def backend_of(settings: Settings) -> Backend:
    """Return the backend of the store that ``settings`` name, not yet open.

    ConfigurationError: the store is in PostgreSQL, and its driver is not installed.
    """
    if not settings.database_url.startswith("postgresql://"):
        return Sqlite(settings)
    try:
        from nemorouter.store.postgres import Postgres  # its driver is an optional package
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "A store in PostgreSQL needs its driver: pip install 'nemorouter[postgres]'."
        ) from error
    return Postgres(settings)


class _Translated:
    """Turn database errors into StoreError.

    A violated constraint passes, since the caller knows what it means.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and (meaning := self._backend.explain(error)) is not None:
            raise meaning from error


def _require_current(version: int, backend: Backend) -> None:
    place = backend.place
    if version > SCHEMA_VERSION:
        raise ConfigurationError(
            f"{place} was written by a newer nemorouter (layout {version}, "
            f"this program knows {SCHEMA_VERSION}); "
            "install that version, or restore a backup made before."
        )
    if version == 0:
        raise ConfigurationError(
            f"There is no store at {place}; run `nemorouter init` or `nemorouter serve` first."
        )
    if version < SCHEMA_VERSION:
        raise ConfigurationError(f"{place} has an old layout; run `nemorouter db upgrade`.")
    backend.check()
