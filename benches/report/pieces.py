"""What was measured, as data: the only thing that the report is rendered from.

A run is a folder; a piece of it, measured at one time, is a file of it. It must hold no path and no
name of a machine.
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
    """A server that answered one question; a value a round. ``ratio``: its CPU time over that of
    the base beside it.
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
    """What it leaves out, or what favours it."""
    size: int = 0
    """What grows, in a piece about growth."""


class Pace(msgspec.Struct, frozen=True):
    """Latency at a fixed rate, from the instant when each request was due; a value a round."""

    name: str
    rate: int
    kept: bool
    """Did it keep up with the rate?"""
    answers: int
    p50_us: list[float]
    p90_us: list[float]
    p99_us: list[float]
    p999_us: list[float]


class Step(msgspec.Struct, frozen=True):
    """One step of one implementation in memory, in nanoseconds; a value a pass, which is a process
    of its own.
    """

    step: str
    by: str
    ns: list[float]
    keys: int = 0
    spread: str = ""
    threads: int = 1


class Count(msgspec.Struct, frozen=True):
    """Instructions of one operation, and what the committed baseline says."""

    operation: str
    instructions: float
    baseline: float | None


class Live(msgspec.Struct, frozen=True):
    """A server on a store with many keys: until they are in memory, until it answers, and until a
    new worker does.
    """

    load_s: float
    bytes_a_key: float
    start_s: float
    respawn_s: float


class Size(msgspec.Struct, frozen=True):
    """A gate with that many keys, in a file of its own; ``live``: a server with as many."""

    keys: int
    cost_ns: float
    bytes_a_key: float
    load_s: float
    live: Live | None = None


class Part(msgspec.Struct, frozen=True):
    """Where the CPU time of a server's request goes: microseconds by library."""

    name: str
    cpu_us: float
    where: dict[str, float]


class Piece(msgspec.Struct, frozen=True):
    """One file. ``kind`` says which of the lists is filled."""

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
    """A piece of here and now."""
    taken = time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime())
    known = {"machine": machine(), "source": source(), "taken": taken}
    return msgspec.convert(
        known | {"name": name, "kind": kind, "title": title} | fields, Piece, from_attributes=True
    )


def write(folder: Path, piece: Piece) -> None:
    """Put it into the run, in place of an older one of that name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{piece.name}.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(_rounded(piece)), indent=1) + b"\n"
    )


def read(folder: Path) -> list[Piece]:
    """All pieces of a run; ValidationError if a file is not one."""
    return [
        msgspec.json.decode(file.read_bytes(), type=Piece) for file in sorted(folder.glob("*.json"))
    ]


def runs(folder: Path = DATA) -> list[list[Piece]]:
    """Every run below ``folder``."""
    return [read(each) for each in sorted(folder.iterdir()) if each.is_dir()]


def source() -> str:
    """What was measured: the trees of the sources as git names them; a later commit elsewhere
    changes nothing.
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
    """The median."""
    return statistics.median(values)


def spread(values: Sequence[float]) -> float:
    """Half the distance between the least and the greatest: the ± of the report."""
    return (max(values) - min(values)) / 2


def _rounded(value: object) -> object:
    """Four digits after the point are more than any of these figures has."""
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
