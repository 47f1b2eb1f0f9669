"""Retain the counters of dead workers' journals, since a counter of the metrics never falls.

One process at a time adds to the file: the drainer, or the process that rebuilds the arena. Any
process reads it.
"""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from nemorouter.datadir.files import replace_file

if TYPE_CHECKING:
    from nemorouter._core import Journal

_REMEMBERED: Final = 64  # names of files that are gone; a reader may have opened one just before


class RetainedCounters(msgspec.Struct):
    """Sums of counters by name, and the names of the journals that are in them, the newest last."""

    counters: dict[str, int]
    journals: list[str]


def read(file: Path) -> RetainedCounters:
    """Read the retained counters; empty if there is no file.

    A caller reads the journals before this, not after.
    """
    with suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(file.read_bytes(), type=RetainedCounters)
    return RetainedCounters({}, [])


def add(file: Path, journal: "Journal", name: str) -> None:
    """Add a dead worker's counters to the file, once, however often it is called.

    The journal may be removed when this returns.
    """
    kept = read(file)
    if name in kept.journals:
        return
    for counter, value in journal.counters().items():
        kept.counters[counter] = kept.counters.get(counter, 0) + value
    kept.journals = [*kept.journals, name][-_REMEMBERED:]
    replace_file(file, msgspec.json.encode(kept))
