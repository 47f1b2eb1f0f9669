"""Runs scenarios: checks, then pairs of base and case in turn, then latency at fixed rates. Answers plain data."""

import os
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benches.load import wrk
from benches.load.case import LOAD_CORE, SERVE_CORE, Case, Scenario, Server
from nemorouter.bench.client import load, paced, percentile
from nemorouter.bench.process import Running, cpu_seconds, is_drainer, resident_bytes, tree

Figures = dict[str, Any]
Say = Callable[[str], None]


class Bench:
    """Servers that run, and what was measured on them."""

    def __init__(self, folder: Path, stack: ExitStack, say: Say) -> None:
        self._folder = folder
        self._stack = stack
        self._say = say
        self._running: dict[str, Running] = {}
        self.versions: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self._rivals: set[str] = set()
        os.sched_setaffinity(0, {LOAD_CORE})

    def add(self, server: Server, core: int = SERVE_CORE, *, rival: bool = False) -> Running | None:
        """Start and check a server; None, and its reason kept, if it does not start.

        A wrong answer ends the run, unless it is a rival's: that rival is then left out, with the reason.
        """
        self._say(f"starting {server.name} {server.version}")
        try:
            up = self._stack.enter_context(server.start(self._folder, core))
            if server.port_of is not None:
                up = up._replace(port=server.port_of(up))
        except (RuntimeError, OSError) as error:
            self._skip(server.name, error)
            return None
        try:
            server.check(up.port)
        except AssertionError as error:
            if not rival:
                raise
            self._skip(server.name, error)
            return None
        if rival:
            self._rivals.add(server.name)
        self._running[server.name] = up
        self.versions[server.name] = server.version
        return up

    def scenario(self, scenario: Scenario, rounds: int, seconds: float) -> Figures:
        """Every case against the base, in pairs whose order alternates."""
        cases = [case for case in (scenario.base, *scenario.cases) if case.server in self._running]
        cases = [case for case in cases if self._answers(scenario, case)]
        rows = [self._pairs(scenario.base, case, rounds, seconds) for case in cases]
        for row in rows:
            cpu = row["cpu_us"]["median"]
            self._say(f"{scenario.name:14} {row['name']:40} {cpu:9.1f} us {row['ratio']['median']:7.3f}x")
        return {"name": scenario.name, "title": scenario.title, "base": scenario.base.name, "cases": rows}

    def _answers(self, scenario: Scenario, case: Case) -> bool:
        """Every status of a short run, checked one by one."""
        port = self._running[case.server].port
        try:
            for payload in dict.fromkeys(case.payloads[:4]):
                load(port, payload, case.status, 0.2, 4)
        except (AssertionError, OSError) as error:
            if case.server not in self._rivals:
                raise
            self._skip(f"{case.name} ({scenario.name})", error)
            return False
        return True

    def _skip(self, name: str, reason: Exception) -> None:
        self.skipped[name] = str(reason)[:300]
        self._say(f"skipped {name}: {reason}")

    def _pairs(self, base: Case, case: Case, rounds: int, seconds: float) -> Figures:
        floors, figures = [], []
        for number in range(rounds):
            if case is base:
                figures.append(self._once(case, seconds))
                floors.append(figures[-1])
                continue
            order = (base, case) if number % 2 else (case, base)
            found = {each.name: self._once(each, seconds) for each in order}
            floors.append(found[base.name])
            figures.append(found[case.name])
        return {
            "name": case.name,
            "server": case.server,
            "status": case.status,
            "remark": case.remark,
            "cpu_us": spread([each["cpu_us"] for each in figures]),
            "worker_us": spread([each["worker_us"] for each in figures]),
            "per_second": spread([each["per_second"] for each in figures]),
            "per_core": spread([1e6 / each["cpu_us"] for each in figures]),
            "p50_us": spread([each["p50_us"] for each in figures]),
            "p99_us": spread([each["p99_us"] for each in figures]),
            "resident_bytes": figures[-1]["resident_bytes"],
            "ratio": spread([a["cpu_us"] / b["cpu_us"] for a, b in zip(figures, floors, strict=True)]),
            "worker_ratio": spread([a["worker_us"] / b["cpu_us"] for a, b in zip(figures, floors, strict=True)]),
            "throughput_ratio": spread(
                [a["per_second"] / b["per_second"] for a, b in zip(figures, floors, strict=True)]
            ),
        }

    def _once(self, case: Case, seconds: float) -> Figures:
        up = self._running[case.server]
        pids = tree(up.pid)
        workers = [pid for pid in pids if not is_drainer(pid)]
        before, before_workers = cpu_seconds(pids), cpu_seconds(workers)
        found = wrk.flood(self._folder, up.port, case.payloads, case.status, seconds)
        return {
            "cpu_us": (cpu_seconds(pids) - before) / found.answers * 1e6,
            "worker_us": (cpu_seconds(workers) - before_workers) / found.answers * 1e6,
            "per_second": found.answers / found.seconds,
            "p50_us": found.p50_us,
            "p99_us": found.p99_us,
            "resident_bytes": resident_bytes(pids),
        }

    def latency(self, cases: Sequence[Case], rates: Sequence[float], seconds: float, rounds: int) -> list[Figures]:
        """Open loop: each rate in turn, each case in turn; a rate that a case cannot keep ends its row."""
        rows = []
        for case in cases:
            if case.server not in self._running:
                continue
            port = self._running[case.server].port
            for rate in rates:
                taken: list[float] = []
                try:
                    for _ in range(rounds):
                        taken += paced(port, case.payloads[0], case.status, seconds, rate).latencies
                except TimeoutError as error:
                    rows.append({"name": case.name, "rate": rate, "failed": str(error)})
                    break
                shares = {"p50_us": 0.5, "p90_us": 0.9, "p99_us": 0.99, "p999_us": 0.999}
                row = {name: percentile(taken, share) * 1e6 for name, share in shares.items()}
                rows.append({"name": case.name, "rate": rate, "answers": len(taken), **row})
                self._say(
                    f"open loop {rate:6.0f}/s {case.name:40} p50 {row['p50_us']:7.0f} p99 {row['p99_us']:7.0f} us"
                )
        return rows


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, and the least and greatest of all rounds."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}
