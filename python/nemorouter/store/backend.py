"""Define what a kind of database must offer to be a store."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from nemorouter.errors import ConfigurationError

if TYPE_CHECKING:
    from nemorouter._core import RefusalCount, Row

Dialect = Literal["sqlite", "postgresql"]


def draft_layout(place: str) -> ConfigurationError:
    """Make the error for a store whose layout is older than the first release."""
    return ConfigurationError(
        f"{place} was made by a development version of nemorouter and cannot be upgraded; "
        "name another store, or remove this one and run `nemorouter init`."
    )


class Backend(Protocol):
    """A store that is not yet open; ``place`` names it in messages and contains no password."""

    dialect: Dialect
    place: str

    async def version(self) -> int:
        """Return the number of the database's layout; 0 if there is none yet.

        ConfigurationError: the database is not ours. StoreError: it does not answer.
        """

    async def look(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query, on a connection that changes nothing, not even the file; StoreError."""

    async def migrate(self, work: Callable[[Connection], None]) -> None:
        """Make what is not there yet, and run ``work`` in one transaction.

        No other process or host runs it meanwhile.
        """

    def check(self) -> None:
        """ConfigurationError if this process may not write to it."""

    def engine(self) -> AsyncEngine:
        """Make the engine: connections that read one instant, and one writer at a time."""

    async def read(self, connection: AsyncConnection) -> None:
        """Begin a transaction that sees the store at one instant."""

    async def write(self, connection: AsyncConnection) -> None:
        """Begin a transaction that must be alone: no other one commits before it."""

    async def write_shared(self, connection: AsyncConnection) -> None:
        """Begin a transaction that writes rows which it has locked."""

    async def record(self, rows: Sequence["Row"], refusal_counts: Sequence["RefusalCount"]) -> int:
        """Write rows that are not there yet, what they add to the sums, and refusal counts.

        All in one transaction. The answer is how many rows were new. Errors are the database's or
        ours.
        """

    def explain(self, error: BaseException) -> Exception | None:
        """Return the error to raise in place of a database error.

        None: the caller knows what it means.
        """

    def change_stamp(self) -> tuple[int, ...]:
        """Return a value that changes when another writer than ``record`` writes.

        It is empty where that cannot be seen at the price of some system calls. Errors are those of
        ``record``.
        """

    async def close(self) -> None:
        """Close what ``engine`` does not own."""
