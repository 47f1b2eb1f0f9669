"""Rows of journals, moved into the ledger: once each, and none held up by another that cannot be.

A row that no store can hold is set aside with all its fields, and its slot freed. A slot is never
freed before its row is in the ledger or set aside.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nemorouter._core import Journal
from nemorouter.datadir import set_aside
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.set_aside import Item, Queue
from nemorouter.errors import StoreError
from nemorouter.log import get_logger
from nemorouter.store.engine import Store

if TYPE_CHECKING:
    from nemorouter._core import RefusalCount, Row

_UNFIT: Final = "a number in it is too large for the ledger: the journal is damaged"

_log = get_logger(__name__)


def open_journal(path: Path) -> Journal | None:
    """Map a journal; None if it is gone, or damaged: then it is renamed to ``*.damaged``."""
    try:
        return Journal.open(str(path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        aside = path.with_suffix(".damaged")
        path.rename(aside)
        _log.error("journal_damaged", path=str(aside), reason=str(error))
        return None


async def move(
    store: Store,
    data: DataDir,
    journals: Sequence[Journal],
    refusal_counts: Sequence["RefusalCount"] = (),
    limit: int = 4096,
) -> int:
    """Move up to ``limit`` ended tickets of each journal into the store, then free their slots.

    All rows are written in one transaction. Return how many rows there were. A crash between commit
    and free hands the same rows over again, which changes nothing. StoreError: the store cannot be
    written to, and nothing was lost.
    """
    ended = [(journal, rows) for journal in journals if (rows := journal.rows(limit))]
    rows = ended[0][1] if len(ended) == 1 else [row for _, rows in ended for row in rows]
    if rows or refusal_counts:
        await _record(store, data, rows, refusal_counts)
    for journal, mine in ended:
        journal.free([row.slot for row in mine])
    return len(rows)


def set_unfit_aside(data: DataDir, journal: Journal) -> int:
    """Set aside the rows of a journal that the ledger cannot hold; answer how many there were."""
    unfit = journal.unfit()
    if unfit:
        _set_aside(data, unfit, _UNFIT)
        journal.free([row.slot for row in unfit])
    return len(unfit)


async def _record(
    store: Store, data: DataDir, rows: Sequence["Row"], refusal_counts: Sequence["RefusalCount"]
) -> None:
    """Write rows and counts; if the store refuses what one of them holds, find which."""
    try:
        await store.record(rows, refusal_counts)
        return
    except StoreError:
        raise
    except Exception as error:
        _log.error(
            "rows_refused", rows=len(rows), refusal_counts=len(refusal_counts), reason=str(error)
        )
    refused: list[tuple[Row, Exception]] = []
    for row in rows:
        try:
            await store.record([row], ())
        except StoreError:
            raise
        except Exception as error:
            refused.append((row, error))
    if len(refused) == len(rows) > 1:
        raise refused[0][1]  # it is no single row's fault
    for row, cause in refused:
        _set_aside(data, [row], f"the store refuses it: {type(cause).__name__}")
    for refusal_count in refusal_counts:
        with suppress(ArithmeticError, ValueError):  # a count of refusals may be lost; no row may
            await store.record((), [refusal_count])


def _set_aside(data: DataDir, rows: Sequence["Row"], reason: str) -> None:
    items = [Item(f"row {row.journal_id:016x}-{row.seq}", reason, row=row[1:]) for row in rows]
    set_aside.update(data, Queue.ROWS, items)
