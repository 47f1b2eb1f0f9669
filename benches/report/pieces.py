"""Define the measured data, the only thing that the report is rendered from.

A run is a folder. A piece is a file of it, whose figures were measured at one time. A piece never
contains a path or the name of a machine.
"""

import statistics
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from nemorouter.bench.machine import Machine, machine

ROOT: Final = Path(__file__).parents[2]
DATA: Final = Path(__file__).with_name("data")
SOURCES: Final = ("python", "rust")


class Row(msgspec.Struct, frozen=True):
    """A case of a scenario or of a growth; a list has one value for each round.

    ``ratio`` is the case's CPU time over that of the base in the same round.
    """

    name: str
    server: str
    cpu_us: list[float]
    worker_us: list[float]
    per_second: list[float]
    p50_us: list[float]
    p99_us: list[float]
    ratio: list[float]
    resident_bytes: int
    status: int = 200
    remark: str = ""
    """What the server leaves out, or what favours it."""
    size: int = 0
    """The size of what grows; only in a piece about growth."""


class Pace(msgspec.Struct, frozen=True):
    """Latencies of a server at a fixed rate; a list has one value for each round.

    A latency counts from the instant at which its request was due.
    """

    name: str
    rate: int
    kept: bool
    """Whether the server kept the rate in every round."""
    answers: int
    p50_us: list[float]
    p90_us: list[float]
    p99_us: list[float]
    p999_us: list[float]


class Step(msgspec.Struct, frozen=True):
    """One step in memory by one implementation, in nanoseconds.

    ``ns`` has one value for each pass, and a pass is a process of its own.
    """

    step: str
    by: str
    ns: list[float]
    keys: int = 0
    spread: str = ""
    threads: int = 1


class Count(msgspec.Struct, frozen=True):
    """The instructions of one operation, and its committed baseline if there is one."""

    operation: str
    instructions: float
    baseline: float | None


class Live(msgspec.Struct, frozen=True):
    """Seconds that a server with many keys takes.

    They count until the keys are in memory (``load_s``), until the first answer (``start_s``), and
    from the death of a worker to the next answer (``respawn_s``).
    """

    load_s: float
    bytes_a_key: float
    start_s: float
    respawn_s: float


class Size(msgspec.Struct, frozen=True):
    """A gate with ``keys`` keys, whose arena is a file; ``live`` is a server with as many keys."""

    keys: int
    cost_ns: float
    bytes_a_key: float
    load_s: float
    live: Live | None = None


class Part(msgspec.Struct, frozen=True):
    """The CPU time of a server's request, in microseconds, by library (``where``)."""

    name: str
    cpu_us: float
    where: dict[str, float]


class Piece(msgspec.Struct, frozen=True):
    """A file of measured data; ``kind`` tells which of its lists has entries."""

    name: str
    kind: str
    title: str
    machine: Machine
    source: str
    taken: str
    method: dict[str, float] = {}
    base: str = ""
    versions: dict[str, str] = {}
    skipped: dict[str, str] = {}
    rows: list[Row] = []
    paces: list[Pace] = []
    steps: list[Step] = []
    counts: list[Count] = []
    sizes: list[Size] = []
    parts: list[Part] = []


def new(name: str, kind: str, title: str, **fields: object) -> Piece:
    """Make a piece that is measured on this machine, from these sources, at this moment."""
    taken = time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime())
    known = {"machine": machine(), "source": source(), "taken": taken}
    return msgspec.convert(
        known | {"name": name, "kind": kind, "title": title} | fields, Piece, from_attributes=True
    )


def write(folder: Path, piece: Piece) -> None:
    """Write ``piece`` into the run ``folder``, in place of an older one of the same name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{piece.name}.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(_rounded(piece)), indent=1) + b"\n"
    )


def read(folder: Path) -> list[Piece]:
    """Read all pieces of a run; ValidationError if a file is not a piece."""
    return [
        msgspec.json.decode(file.read_bytes(), type=Piece) for file in sorted(folder.glob("*.json"))
    ]


def runs(folder: Path = DATA) -> list[list[Piece]]:
    """Read every run below ``folder``."""
    return [read(each) for each in sorted(folder.iterdir()) if each.is_dir()]


def source() -> str:
    """Name what is measured: the git trees of the sources.

    A commit changes the name only if it changes a source.
    """

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    names = [
        f"{each} {git('rev-parse', '--short=12', f'HEAD:{each}') or 'unknown'}" for each in SOURCES
    ]
    changed = " + changes" if git("status", "--porcelain", "--", *SOURCES) else ""
    return ", ".join(names) + changed


def middle(values: Iterable[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def spread(values: Sequence[float]) -> float:
    """Return the ± of the report: half the distance from the least to the greatest value."""
    return (max(values) - min(values)) / 2


def _rounded(value: object) -> object:
    """Round every float in ``value`` to four places, which is finer than any figure here."""
    plain = msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value
    match plain:
        case float():
            return round(plain, 4)
        case list():
            return [_rounded(each) for each in plain]
        case dict():
            return {name: _rounded(each) for name, each in plain.items()}
        case _:
            return plain
