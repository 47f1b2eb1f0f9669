"""Describe the journal: the tickets of a worker in a mapped file."""

from collections.abc import Sequence
from typing import final

from nemorouter._stubs.rows import RefusalCount, Row

@final
class Journal:
    """Hold one worker's tickets, from admission until they are in the ledger.

    The file is locked by its worker; the lock ends with the process.
    """

    @staticmethod
    def private(slots: int = 1024, upstreams: Sequence[str] = ...) -> Journal: ...
    @staticmethod
    def create(directory: str, slots: int, upstreams: Sequence[str]) -> Journal:
        """Create a locked file ``<id as 16 hex digits>.journal``, wholly allocated.

        OSError: there is no room.
        """

    @staticmethod
    def open(path: str) -> Journal:
        """Map a file, for the drainer.

        ValueError: foreign or torn header, or an id above 63 bits.
        """

    @property
    def journal_id(self) -> int:
        """Random 63-bit id."""

    @property
    def path(self) -> str | None: ...
    @property
    def upstreams(self) -> list[str]: ...
    @property
    def slots(self) -> int: ...
    @property
    def free_slots(self) -> int: ...
    def lock_if_dead(self) -> bool:
        """Take the lock of a dead worker's file; False while its worker lives. Idempotent."""

    def recover(self) -> list[int]:
        """End what a dead worker left, and list the scope indices to recount.

        It may be called only after ``lock_if_dead``. The outcome is RECOVERED, charged as reserved.
        """

    def deferred(self) -> list[int]:
        """List the scope indices to recount because a settlement met a frozen word."""

    def finish_deferred(self) -> None:
        """Turn slots into rows after the recounts of their scopes succeeded.

        Only slots that the last ``deferred`` listed count.
        """

    def rows(self, limit: int = 1000) -> list[Row]:
        """List up to ``limit`` ended tickets, lowest slot first; they stay until ``free``.

        Tickets that ``unfit`` lists are left out.
        """

    def unfit(self, limit: int = 1000) -> list[Row]:
        """List up to ``limit`` ended tickets with a number that the ledger cannot hold.

        Only a corrupt file has such. Its numbers may have 64 bits.
        """

    def free(self, slots: Sequence[int]) -> None:
        """Give slots back after the store's commit."""

    def take_refusal_counts(self, before_minute: int) -> list[RefusalCount]:
        """Take out the refusal counts of minutes before ``before_minute``."""

    def counters(self) -> dict[str, int]:
        """Return cumulative counters by name.

        They are admitted, settled, tallies_dropped, and refused_<code name> for each errors.Code of
        the gate.
        """
