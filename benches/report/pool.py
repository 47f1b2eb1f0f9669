"""Take the figures of all runs together, and compare two runs.

The comparison is of ratios, since times vary from run to run and ratios do not.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec

from benches.report.pieces import Pace, Part, Piece, Row, Step, middle, spread

T = TypeVar("T")
SCENARIOS: Final = (
    "unread",
    "read",
    "authenticate",
    "limits",
    "everything",
    "429",
    "401",
    "stream",
    "provider",
)
_LISTS: Final = (
    "cpu_us",
    "worker_us",
    "per_second",
    "p50_us",
    "p90_us",
    "p99_us",
    "p999_us",
    "ratio",
    "ns",
)
"""Fields that have a value for each round or pass, and are joined when runs are taken together."""


class Report:
    """All pieces of all runs; a row has the values of every run that measured it."""

    def __init__(self, runs: Sequence[Sequence[Piece]]) -> None:
        self.runs = [{piece.name: piece for piece in run} for run in runs]
        self.pieces = [piece for run in runs for piece in run]
        self.names = list(dict.fromkeys(piece.name for piece in self.pieces))

    def first(self, name: str) -> Piece | None:
        """Return piece ``name`` of the first run that has one."""
        return next((piece for piece in self.pieces if piece.name == name), None)

    def rows(self, name: str) -> list[Row]:
        """Return the rows of a scenario or of a growth."""
        return _pooled(
            [piece.rows for piece in self.pieces if piece.name == name],
            lambda row: (row.name, row.size),
        )

    def row(self, scenario: str, server: str) -> Row | None:
        """Return the row of a server in a scenario."""
        return next((row for row in self.rows(scenario) if row.server == server), None)

    def paces(self) -> list[Pace]:
        """Return all latencies at fixed rates."""
        return _pooled([piece.paces for piece in self.pieces], lambda pace: (pace.name, pace.rate))

    def steps(self, kind: str) -> list[Step]:
        """Return the steps in memory of all pieces of ``kind``."""
        return pooled_steps([piece.steps for piece in self.pieces if piece.kind == kind])

    def parts(self) -> list[Part]:
        """Return the newest profile of each case."""
        return list({part.name: part for piece in self.pieces for part in piece.parts}.values())

    def skipped(self) -> dict[str, str]:
        """Return the reason for each server or case that no run could measure in some piece."""
        return {
            name: reason
            for piece in self.pieces
            for name, reason in piece.skipped.items()
            if not any(row.name == name or row.server == name for row in self.rows(piece.name))
        }

    def versions(self) -> dict[str, str]:
        """Return the version of everything that took part."""
        return {name: version for piece in self.pieces for name, version in piece.versions.items()}


def together(first: Piece, second: Piece) -> Piece:
    """Join two pieces of the same name, measured on different sets of servers, to one."""
    rows = _pooled([first.rows, second.rows], lambda row: (row.name, row.size))
    fields: dict[str, object] = {"rows": rows, "steps": pooled_steps([first.steps, second.steps])}
    fields["method"] = second.method | {"starts": first.method.get("starts", 1) + 1}
    fields |= {
        "versions": first.versions | second.versions,
        "skipped": first.skipped | second.skipped,
    }
    return msgspec.structs.replace(second, **fields)


def pooled_steps(found: Iterable[Sequence[Step]]) -> list[Step]:
    """Join the steps of several passes: steps of the same name become one, with all values."""
    return _pooled(found, lambda step: (step.step, step.by, step.keys, step.spread, step.threads))


def _pooled(found: Iterable[Sequence[T]], key: Callable[[T], object]) -> list[T]:
    """Join all elements that have the same key to one, with the values of all."""
    joined: dict[object, T] = {}
    for each in (thing for things in found for thing in things):
        known = joined.get(key(each))
        joined[key(each)] = each if known is None else _join(known, each)
    return list(joined.values())


def _join(first: T, second: T) -> T:
    fields = [name for name in _LISTS if hasattr(first, name)]
    lists: dict[str, object] = {
        name: [*getattr(first, name), *getattr(second, name)] for name in fields
    }
    if isinstance(first, Pace) and isinstance(second, Pace):
        lists |= {"kept": first.kept and second.kept, "answers": first.answers + second.answers}
    joined: T = msgspec.structs.replace(first, **lists)  # type: ignore[type-var]
    return joined


class Pair(NamedTuple):
    """A ratio as two runs measured it, and the ± of all their values (``within``)."""

    what: str
    one: float
    other: float
    within: float

    @property
    def agree(self) -> bool:
        """Whether the two medians differ by no more than ``within``."""
        return abs(self.one - self.other) <= self.within


def compared(report: Report) -> list[Pair]:
    """Return every ratio that the first run and the last run both measured."""
    if len(report.runs) < 2:
        return []
    one = report.runs[0]
    other = report.runs[-1]
    pairs = []
    for name in report.names:
        if name not in one or name not in other:
            continue
        if one[name].kind == "micro":
            pairs += _gates(one[name].steps, other[name].steps)
        later = {(row.name, row.size): row for row in other[name].rows}
        for row in one[name].rows:
            if (again := later.get((row.name, row.size))) is not None:
                pairs.append(_pair(f"{name}: {row.name}", row.ratio, again.ratio))
    return pairs


def _gates(one: Sequence[Step], other: Sequence[Step]) -> list[Pair]:
    later = gate_ratios(other)
    return [
        _pair(f"gate: {what}", values, later[what])
        for what, values in gate_ratios(one).items()
        if what in later
    ]


def gate_ratios(steps: Sequence[Step]) -> dict[str, list[float]]:
    """Divide reference by native, pass by pass, for each step that both have."""
    native = {_case(step): step.ns for step in steps if step.by == "native"}
    return {
        _case(step): [slow / fast for slow, fast in zip(step.ns, native[_case(step)], strict=False)]
        for step in steps
        if step.by == "reference" and _case(step) in native
    }


def _case(step: Step) -> str:
    if not step.keys:
        return step.step
    threads = f"{step.threads} thread{'s' * (step.threads > 1)}"
    return f"{step.step}, {step.keys} keys, {step.spread}, {threads}"


def _pair(what: str, one: Sequence[float], other: Sequence[float]) -> Pair:
    return Pair(what, middle(one), middle(other), spread([*one, *other]))
