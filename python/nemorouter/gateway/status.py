"""``/healthz``, ``/readyz`` and ``/metrics``: about the host, from what all its workers share.

It must never tell of one tenant.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from nemorouter._core import problem
from nemorouter.datadir import retained_counters, set_aside
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.set_aside import Queue
from nemorouter.errors import Code
from nemorouter.gateway.wire import Whole

if TYPE_CHECKING:
    from nemorouter._core import Gate, Journal

_HELP = {
    "admitted": "Requests admitted.",
    "settled": "Requests settled.",
    "tallies_dropped": "Refusals that could not be counted for the log.",
    "refused": "Requests refused, by code.",
    "set_aside": "Items that a queue of this host could not apply; doctor names them.",
    "ledger_lag_seconds": "Since the drainer last moved all rows that there were.",
    "host_fenced": "1 if this host lost its lease among the hosts, and admits nothing.",
    "host_disconnected": "1 if this host cannot reach Redis, and serves its offline share.",
    "host_lease_seconds": "How long this host may still admit without another renewal.",
    "host_lease_age_seconds": "Since the newest renewal of this host's lease was asked for.",
    "hosts": "Hosts that are registered.",
    "changes_behind": "Changes that were announced and that this host does not apply yet.",
    "change_applied_seconds": (
        "From the announcement of a change until all hosts applied it, counted over all hosts."
    ),
}


_JSON: Final = ("content-type", "application/json")
_TEXT: Final = ("content-type", "text/plain; version=0.0.4; charset=utf-8")
_NOBODY_DRAINS: Final = "No process of this host moves requests into the log. Retry."


def health() -> Whole:
    """Answer that the process lives."""
    return 200, [_JSON], b'{"status":"ok"}'


def ready(gate: "Gate") -> Whole:
    """Answer whether the worker may admit: it can record, and its host holds its lease."""
    if gate.arena.fenced:
        return problem(Code.NOT_READY, "This host has lost its lease among the hosts. Retry.")
    if not gate.journal.free_slots:
        return problem(Code.OVERLOADED)
    return 200, [_JSON], b'{"status":"ready"}'


class StatusPages:
    """Answers for the whole host: all journals in ``data`` are counted, and those that are gone."""

    def __init__(self, gate: "Gate", data: DataDir) -> None:
        self._gate = gate
        self._data = data

    def __call__(self, name: str) -> Whole:
        """Answer ``ready`` or ``metrics``."""
        if name == "metrics":
            return 200, [_TEXT], ("\n".join(self._lines()) + "\n").encode()
        return self._ready()

    def _ready(self) -> Whole:
        """Answer 200 where requests are admitted and recorded, with what is not as it should be."""
        status, headers, body = ready(self._gate)
        if status != 200:
            return status, headers, body
        drainer = self._data.drainer_status()
        if drainer is None or not drainer.drains():
            return problem(Code.NOT_READY, _NOBODY_DRAINS)
        words = {"status": "ready"}
        if drainer.error:
            words["log"] = "waits: the store does not take rows"
        if self._gate.arena.clustered and self._disconnected():
            words["limits"] = "offline share: Redis cannot be reached"
        return 200, headers, msgspec.json.encode(words)

    def _disconnected(self) -> bool:
        status = self._data.agent_status()
        return status is not None and status.disconnected

    def _lines(self) -> Iterator[str]:
        journals, totals = self._counted()
        for journal in journals:
            for name, value in journal.counters().items():
                totals[name] = totals.get(name, 0) + value
        refused: list[tuple[str, int]] = []
        for name, value in totals.items():
            if name.startswith("refused_"):
                refused.append((f'{{code="{name.removeprefix("refused_")}"}}', value))
            else:
                yield from _metric(name, "counter", [("", value)])
        yield from _metric("refused", "counter", refused)
        arena = self._gate.arena
        yield from _metric("scopes", "gauge", [("", arena.scopes)])
        yield from _metric("capacity", "gauge", [("", arena.capacity)])
        yield from _metric("applied_sequence", "gauge", [("", arena.applied)])
        yield from _metric("frozen_scopes", "gauge", [("", len(arena.frozen()))])
        yield from _metric("workers", "gauge", [("", len(journals))])
        yield from _metric(
            "journal_slots", "gauge", [("", sum(journal.slots for journal in journals))]
        )
        yield from _metric(
            "journal_slots_free", "gauge", [("", sum(journal.free_slots for journal in journals))]
        )
        yield from _metric("set_aside", "gauge", self._set_aside())
        yield from self._ledger()
        if arena.clustered:
            yield from self._cluster()

    def _set_aside(self) -> list[tuple[str, int]]:
        """Count what each queue of this host could not apply."""
        return [
            (f'{{queue="{queue}"}}', set_aside.read(self._data, queue).total) for queue in Queue
        ]

    def _ledger(self) -> Iterator[str]:
        status = self._data.drainer_status()
        if status is not None:
            lag = max(0, time.time_ns() // 1_000_000 - status.heartbeat_ms) / 1000
            yield from _metric("ledger_lag_seconds", "gauge", [("", lag)])

    def _cluster(self) -> Iterator[str]:
        """Yield the metrics of this host among others.

        They come from its agent's report, and from its lease in the arena.
        """
        arena = self._gate.arena
        now = self._gate.now_us()
        yield from _metric("host_fenced", "gauge", [("", int(arena.fenced))])
        yield from _metric(
            "host_lease_seconds", "gauge", [("", max(0, arena.admit_until_us - now) / 1_000_000)]
        )
        status = self._data.agent_status()
        if status is None:
            return
        age = (now - status.renewed_us) / 1_000_000 if status.renewed_us else float("inf")
        yield from _metric("host_lease_age_seconds", "gauge", [("", age)])
        yield from _metric("host_disconnected", "gauge", [("", int(status.disconnected))])
        yield from _metric("hosts", "gauge", [("", status.hosts)])
        yield from _metric(
            "changes_behind", "gauge", [("", max(0, status.announced - status.applied))]
        )
        for name, value in status.counters.items():
            kind = "gauge" if name.startswith("held_") else "counter"
            yield from _metric(f"cluster_{name}", kind, [("", value)])
        yield from _histogram("change_applied_seconds", status.delays)

    def _counted(self) -> tuple[list["Journal"], dict[str, int]]:
        """Read the journals that exist, and the sums of all others; no journal is in both."""
        there = list(self._journals())  # first: one that goes meanwhile is in what is read then
        kept = retained_counters.read(self._data.counters_file)
        gone = set(kept.journals)
        return [
            journal for journal in there if Path(journal.path or "").name not in gone
        ], kept.counters

    def _journals(self) -> Iterator["Journal"]:
        own = self._gate.journal
        yield own
        for path in self._data.journal_paths():
            if str(path) != own.path:
                try:
                    yield type(own).open(str(path))
                except (OSError, ValueError):
                    continue  # just drained and removed, or being made


def _histogram(name: str, counted: Mapping[str, int]) -> Iterator[str]:
    """Yield the lines of a histogram.

    ``counted`` holds numbers by upper end in milliseconds, and ``sum`` in microseconds.
    """
    full = f"nemorouter_{name}"
    total = 0
    yield f"# HELP {full} {_HELP[name]}"
    yield f"# TYPE {full} histogram"
    for bound in sorted((bound for bound in counted if bound != "sum"), key=float):
        total += counted[bound]
        if bound != "inf":
            yield f'{full}_bucket{{le="{float(bound) / 1000:g}"}} {total}'
    yield f'{full}_bucket{{le="+Inf"}} {total}'
    yield f"{full}_sum {counted.get('sum', 0) / 1_000_000}"
    yield f"{full}_count {total}"


def _metric(name: str, kind: str, samples: Sequence[tuple[str, float]]) -> Iterator[str]:
    full = f"nemorouter_{name}" + ("_total" if kind == "counter" else "")
    yield f"# HELP {full} {_HELP.get(name, name.replace('_', ' ').capitalize() + '.')}"
    yield f"# TYPE {full} {kind}"
    for labels, value in samples:
        yield f"{full}{labels} {value}"
