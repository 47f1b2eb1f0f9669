"""Measure cases on running servers: base and case in turns, or latency at fixed rates.

The answers of each case are checked before it is measured.
"""

from collections.abc import Sequence

from benches.load import wrk
from benches.load.case import Case, Scenario
from benches.load.fleet import Fleet
from benches.report.pieces import Pace, Row, middle
from nemorouter.bench.client import Load, ask, load, paced, percentile
from nemorouter.bench.process import Running, cpu_seconds, is_drainer, resident_bytes, tree

Figures = dict[str, float]
_SHARES = {"p50_us": 0.5, "p90_us": 0.9, "p99_us": 0.99, "p999_us": 0.999}
_BEHIND = 1.05
"""A rate was not kept if the answers took more than this times the duration of the requests."""


class Bench:
    """A measurement of ``rounds`` rounds, each of which lasts ``seconds``."""

    def __init__(self, fleet: Fleet, rounds: int, seconds: float) -> None:
        self.fleet = fleet
        self.rounds = rounds
        self.seconds = seconds

    def scenario(self, scenario: Scenario) -> list[Row]:
        """Measure every case against the base, in pairs whose order alternates.

        The first row is the base against itself: it shows how far two equal things differ.
        """
        cases = [case for case in (scenario.base, *scenario.cases) if self.fleet.need(case.server)]
        cases = [case for case in cases if self._answers(case)]
        return [self._report(scenario.name, self._pairs(scenario.base, case)) for case in cases]

    def row(self, case: Case, base: Case, size: int) -> Row:
        """Measure ``case`` against ``base``: the point of a growth at ``size``."""
        for each in (base, case):
            self.fleet.need(each.server)
            self._answers(each)
        return self._report("growth", self._pairs(base, case, size))

    def _report(self, what: str, row: Row) -> Row:
        self.fleet.say(
            f"{what:14} {row.name:40} {middle(row.cpu_us):9.1f} µs {middle(row.ratio):7.3f}x"
        )
        return row

    def _up(self, name: str) -> Running:
        up = self.fleet.need(name)
        assert up is not None, f"{name} does not run: {self.fleet.skipped.get(name)}"
        return up

    def _answers(self, case: Case) -> bool:
        """Check every status of a short load; return False if a rival fails."""
        port = self._up(case.server).port
        try:
            for payload in dict.fromkeys(case.payloads[:4]):
                ask(port, payload)  # some servers take longer for their first answer than the load
                found = load(port, payload, case.status, 0.2, 4)
                assert found.answers, f"{case.name} answers nothing"
        except (AssertionError, OSError) as error:
            if not self.fleet.is_rival(case.server):
                raise
            self.fleet.skip(case.name, error)
            return False
        return True

    def _pairs(self, base: Case, case: Case, size: int = 0) -> Row:
        floors: list[Figures] = []
        found: list[Figures] = []
        for number in range(self.rounds):
            order = [(base, floors), (case, found)]
            for each, into in order if number % 2 else reversed(order):
                into.append(self._once(each))

        def all_of(name: str) -> list[float]:
            return [each[name] for each in found]

        return Row(
            name=case.name,
            server=case.server,
            status=case.status,
            remark=case.remark,
            size=size,
            cpu_us=all_of("cpu_us"),
            worker_us=all_of("worker_us"),
            per_second=all_of("per_second"),
            p50_us=all_of("p50_us"),
            p99_us=all_of("p99_us"),
            ratio=[
                mine["cpu_us"] / floor["cpu_us"] for mine, floor in zip(found, floors, strict=True)
            ],
            resident_bytes=resident_bytes(tree(self._up(case.server).pid)),
        )

    def _once(self, case: Case) -> Figures:
        """Saturate the case's server once; times are in microseconds."""
        up = self._up(case.server)
        pids = tree(up.pid)
        workers = [pid for pid in pids if not is_drainer(pid)]
        before = cpu_seconds(pids)
        before_workers = cpu_seconds(workers)
        found = wrk.flood(self.fleet.folder, up.port, case.payloads, case.status, self.seconds)
        return {
            "cpu_us": (cpu_seconds(pids) - before) / found.answers * 1e6,
            "worker_us": (cpu_seconds(workers) - before_workers) / found.answers * 1e6,
            "per_second": found.answers / found.seconds,
            "p50_us": found.p50_us,
            "p99_us": found.p99_us,
        }

    def latency(self, cases: Sequence[Case], rates: Sequence[int]) -> list[Pace]:
        """Measure the latency of each case at each of ``rates`` (requests a second), open loop.

        A rate that a case cannot keep is its last one.
        """
        paces = []
        for case in cases:
            if self.fleet.need(case.server) is None or not self._answers(case):
                continue
            for rate in rates:
                pace = self._pace(case, rate)
                paces.append(pace)
                figures = f"p50 {middle(pace.p50_us):8.0f} p99 {middle(pace.p99_us):8.0f} µs"
                self.fleet.say(f"open loop {rate:5}/s {case.name:40} {figures}")
                if not pace.kept:
                    break
        return paces

    def _pace(self, case: Case, rate: int) -> Pace:
        port = self._up(case.server).port
        found: list[Load] = []
        for _ in range(self.rounds):
            found.append(paced(port, case.payloads[0], case.status, self.seconds, rate))
            if not _in_time(found[-1], self.seconds):
                break  # the queue would only grow in further rounds
        shares = {
            name: [percentile(each.latencies, share) * 1e6 for each in found]
            for name, share in _SHARES.items()
        }
        kept = all(_in_time(each, self.seconds) for each in found)
        return Pace(
            name=case.name,
            rate=rate,
            kept=kept,
            answers=sum(each.answers for each in found),
            **shares,
        )


def _in_time(found: Load, seconds: float) -> bool:
    return found.seconds <= seconds * _BEHIND + 0.1
