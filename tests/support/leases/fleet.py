"""Hosts in processes of their own on one Redis, and the judgement over all that they admitted."""

import json
import os
import subprocess
import sys
import time
from array import array
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.support.leases.worker import Plan, boot_us
from tests.support.oracle import MINUTE_US
from tests.support.servers import until

ROOT = Path(__file__).parents[3]
Admission = tuple[int, int, int]
"""Boot time before and after, and tokens."""


@dataclass
class Outcome:
    """The outcome of a fleet's run."""

    admissions: list[Admission]
    verdicts: dict[str, int]
    calls: int
    syncs: int

    @property
    def admitted(self) -> int:
        return sum(tokens for _, _, tokens in self.admissions)


class Fleet:
    """``with Fleet(...) as fleet: ...; outcome = fleet.outcome()`` after the end."""

    def __init__(
        self,
        folder: Path,
        url: str,
        rates: list[float],
        seconds: float,
        limit: int,
        **plan: int | None,
    ) -> None:
        self._seconds = seconds
        self.folders = [folder / f"host{number}" for number in range(len(rates))]
        self._plans = [
            Plan(folder=str(place), url=url, limit=limit, rate=rate, **plan)  # type: ignore[arg-type]
            for place, rate in zip(self.folders, rates, strict=True)
        ]
        self.hosts: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Fleet":
        for place, plan in zip(self.folders, self._plans, strict=True):
            place.mkdir(parents=True)
            command = [
                sys.executable,
                "-m",
                "tests.support.leases.host",
                msgspec.json.encode(plan).decode(),
            ]
            environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'python'}"}
            with (place / "log").open("wb") as log:
                self.hosts.append(
                    subprocess.Popen(
                        command,
                        stdin=subprocess.PIPE,
                        stdout=log,
                        stderr=log,
                        cwd=ROOT,
                        env=environment,
                    )
                )
        ready = [
            place / f"{n}.ready"
            for place, plan in zip(self.folders, self._plans, strict=True)
            for n in range(plan.workers)
        ]
        until(lambda: all(path.exists() for path in ready), 60, "the workers did not start")
        self.begin_us = boot_us() + 300_000
        self.end_us = self.begin_us + int(self._seconds * 1e6)
        for place in self.folders:
            (place / "begin.new").write_text(f"{self.begin_us} {self.end_us}")
            (place / "begin.new").rename(place / "begin")
        return self

    def wait(self, seconds: float) -> None:
        """Until so long after the workers began; a negative number: so long before they end."""
        moment = (
            self.begin_us + int(seconds * 1e6) if seconds >= 0 else self.end_us + int(seconds * 1e6)
        )
        time.sleep(max(0.0, (moment - boot_us()) / 1e6))

    def __exit__(self, *_: object) -> None:
        self.wait(self._seconds + 0.3)
        for host in self.hosts:
            if host.stdin is not None:
                host.stdin.close()
        for host in self.hosts:
            host.wait(20)

    def outcome(self) -> Outcome:
        """All hosts together."""
        outcome = Outcome([], {}, 0, 0)
        for place in self.folders:
            agent = json.loads((place / "agent.json").read_text())
            outcome.calls += agent["lease_calls"]
            outcome.syncs += agent["lease_syncs"]
            for found in place.glob("[0-9]*.json"):
                for what, count in json.loads(found.read_text()).items():
                    outcome.verdicts[what] = outcome.verdicts.get(what, 0) + count
                flat = array("q")
                flat.frombytes(found.with_suffix(".events").read_bytes())
                outcome.admissions += list(zip(flat[0::3], flat[1::3], flat[2::3], strict=True))
        return outcome


def worst(admissions: list[Admission], limit: int) -> int:
    """Return the most tokens by which any window certainly took more than was issued in it.

    A claim happened between its two times; so a window begins with the earliest start of what lies
    in it.
    """
    admissions = sorted(admissions, key=lambda entry: entry[1])
    starts = [before for before, _, _ in admissions]
    for at in range(len(starts) - 2, -1, -1):
        starts[at] = min(starts[at], starts[at + 1])
    taken = 0
    high = 0
    lowest: int | None = None
    for (_, after, tokens), start in zip(admissions, starts, strict=True):
        begun = taken - start * limit
        lowest = begun if lowest is None else min(lowest, begun)
        taken += tokens * MINUTE_US
        high = max(high, taken - after * limit - lowest)
    return -(-high // MINUTE_US)
