"""Set aside the items that a queue of this host could not apply, so that they stop no other item.

Each queue has one file, ``<data dir>/set-aside/<queue>.json``, written whole by the one process
that works on the queue, and read by ``doctor`` and the metrics. No file means that nothing is set
aside.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec

from nemorouter.datadir.files import replace_file
from nemorouter.datadir.paths import DataDir
from nemorouter.errors import ConfigurationError
from nemorouter.log import get_logger

MOST: Final = 10_000
"""Items that a file lists at most; of others only the number is kept."""

_log = get_logger(__name__)


class Queue(StrEnum):
    """A queue whose items may be set aside. The names are those of the metric's label."""

    CHANGES = "changes"
    """Changes of the store on their way to the arena."""
    ROWS = "rows"
    """Ended tickets of the journals on their way to the ledger."""
    ALERTS = "alerts"
    """Budgets on their way to alerts."""
    DELIVERIES = "deliveries"
    """Alerts on their way to webhooks."""


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """An item that could not be applied.

    ``name`` is unique within its queue. ``seq`` is the number of the change, 0 if the item was
    found at a start. ``kind`` and ``id`` name a scope (``types.Kind``); ``row`` holds all fields of
    a row.
    """

    name: str
    reason: str
    at_ms: int = 0  # Unix milliseconds
    seq: int = 0
    kind: int = 0
    id: int = 0
    row: tuple[Any, ...] = ()


class SetAside(msgspec.Struct):
    """The items that a queue has set aside, oldest first, and the number of those not listed."""

    items: list[Item] = []
    unlisted: int = 0

    @property
    def total(self) -> int:
        """Count all items, listed or not."""
        return len(self.items) + self.unlisted


def read(data: DataDir, queue: Queue) -> SetAside:
    """Answer what ``queue`` has set aside; nothing if its file cannot be read."""
    with suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(file_of(data, queue).read_bytes(), type=SetAside)
    return SetAside()


def update(
    data: DataDir, queue: Queue, added: Sequence[Item] = (), gone: Collection[str] = ()
) -> None:
    """Add items, in place of those with their names, and drop the other items named by ``gone``."""
    kept = read(data, queue)
    if not added and not kept.items:
        return
    known = {item.name: item for item in kept.items}
    items = _dated(added, known)
    _report(queue, [item for item in items if item.name not in known])
    names = {*gone, *(item.name for item in items)}
    items = [item for item in kept.items if item.name not in names] + items
    if items != kept.items:
        _write(data, queue, SetAside(items, kept.unlisted))


def replace(data: DataDir, queue: Queue, items: Sequence[Item]) -> None:
    """Set aside these items and no others."""
    known = {item.name: item for item in read(data, queue).items}
    _report(queue, items)
    _write(data, queue, SetAside(_dated(items, known)))


def _dated(items: Sequence[Item], known: Mapping[str, Item]) -> list[Item]:
    """Give items the time, and the number if they have none, of when they were first set aside."""
    now_ms = time.time_ns() // 1_000_000
    found = []
    for item in items:
        first = known.get(item.name, item)
        at_ms = first.at_ms or item.at_ms or now_ms
        found.append(msgspec.structs.replace(item, at_ms=at_ms, seq=item.seq or first.seq))
    return found


def _report(queue: Queue, items: Sequence[Item]) -> None:
    if items:
        first = items[0]
        _log.error(
            "set_aside", queue=queue, count=len(items), first=first.name, reason=first.reason
        )


def check(data: DataDir, changes: range) -> None:
    """Raise a ConfigurationError if one of these changes is set aside."""
    for item in read(data, Queue.CHANGES).items if changes else ():
        if item.seq in changes:
            raise ConfigurationError(
                f"{item.name} is set aside, for {item.reason}. See `nemorouter doctor`."
            )


def _write(data: DataDir, queue: Queue, kept: SetAside) -> None:
    """Write the file of ``queue``. Of too many items the newest are listed.

    A file that cannot be written is logged: it must not stop the queue either.
    """
    path = file_of(data, queue)
    surplus = max(0, len(kept.items) - MOST)
    kept = SetAside(kept.items[surplus:], kept.unlisted + surplus)
    try:
        if kept.total:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            replace_file(path, msgspec.json.encode(kept))
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        _log.error("set_aside_not_noted", queue=queue, items=kept.total, reason=error.strerror)


def file_of(data: DataDir, queue: Queue) -> Path:
    """Answer where the items of ``queue`` are kept."""
    return data.set_aside / f"{queue}.json"
