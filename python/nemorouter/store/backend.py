"""What a kind of database must offer to be a store. Everything else about it stays in its own
module.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

if TYPE_CHECKING:
    from nemorouter._core import Row, Tally

Dialect = Literal["sqlite", "postgresql"]


class Backend(Protocol):
    """A store that is not yet open; ``place`` names it in messages and contains no password."""

    dialect: Dialect
    place: str

    async def version(self) -> int:
        """Number of its layout; 0 if there is none yet. ConfigurationError if it is not ours,
        StoreError if unheard.
        """

    async def look(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query, on a connection that changes nothing, not even the file; StoreError."""

    async def migrate(self, work: Callable[[Connection], None]) -> None:
        """Make what is not there yet, and run ``work`` in one transaction, alone among all
        processes and hosts.
        """

    def check(self) -> None:
        """ConfigurationError if this process may not write to it."""

    def engine(self) -> AsyncEngine:
        """Connections that read one instant, and one writer at a time."""

    async def read(self, connection: AsyncConnection) -> None:
        """The first words of a transaction that sees the store at one instant."""

    async def write(self, connection: AsyncConnection) -> None:
        """The first words of a transaction that must be alone: from here no other one commits
        before it.
        """

    async def write_shared(self, connection: AsyncConnection) -> None:
        """The first words of a transaction that writes rows which it has locked."""

    async def record(self, rows: Sequence["Row"], tallies: Sequence["Tally"]) -> int:
        """One transaction of the ledger: rows that are not there yet, what they add to the sums,
        and tallies.

        Answers how many rows were new. What it raises is an error of the database, or of ours.
        """

    def explain(self, error: BaseException) -> Exception | None:
        """The error to raise in place of a database error; None: the caller knows what it means."""

    def change_stamp(self) -> tuple[int, ...]:
        """Changes when somebody writes by another way than ``record``, where that is seen at the
        price of some system calls; else it is empty. What it raises is as ``record``'s.
        """

    async def close(self) -> None:
        """Close what ``engine`` does not own."""
