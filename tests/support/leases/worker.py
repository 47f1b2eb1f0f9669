"""Run a worker of a host without HTTP: Poisson arrivals, each waiting for a lease as the gateway.

``python -m tests.support.leases.worker '<Plan as JSON>' <number>``. It leaves boot times before and
after each admission.
"""

import json
import sys
import time
from array import array
from pathlib import Path
from random import Random

import msgspec

from nemorouter._core import Arena, Gate, Journal, hash_key
from nemorouter.cluster.wake import Bell
from nemorouter.errors import Code
from nemorouter.types import Endpoint, Kind, Outcome

PEPPER = b"n" * 32
IDENTITY = b"i" * 32
SECRET = "sk-nemo-" + "R" * 20
PAUSES = (0.001, 0.001, 0.002, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.256)


class Plan(msgspec.Struct, kw_only=True):
    """The settings of one host. ``rate``: requests a second and worker."""

    folder: str
    url: str
    limit: int
    burst: int | None = None
    tpm: int | None = None
    tokens: int = 0
    workers: int = 2
    rate: float = 100.0


def boot_us() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def work(plan: Plan, number: int) -> None:
    """One worker: Poisson arrivals, each waiting for a lease as the gateway does."""
    folder = Path(plan.folder)
    (folder / str(number)).mkdir(parents=True)
    arena = Arena.open(str(folder / "arena"), IDENTITY)
    journal = Journal.create(str(folder / str(number)), 4096, ["echo"])
    (folder / f"{number}.ready").touch()
    worker = Worker(
        plan, Gate(arena, journal, [(1, PEPPER)]), Bell(folder / "bell"), Random(number)
    )
    worker.run(*begin(folder))
    with (folder / f"{number}.events").open("wb") as out:
        worker.events.tofile(out)
    (folder / f"{number}.json").write_text(json.dumps(worker.verdicts))


def begin(folder: Path) -> tuple[int, int]:
    """When to begin and end: told when all of the fleet are ready."""
    told = folder / "begin"
    while not told.exists():
        time.sleep(0.01)
    first, last = told.read_text().split()
    return int(first), int(last)


class Worker:
    """Admits on a gate from its first to its last moment."""

    def __init__(self, plan: Plan, gate: Gate, bell: Bell, random: Random) -> None:
        self.plan = plan
        self.gate = gate
        self.bell = bell
        self.random = random
        key = gate.arena.find(Kind.KEY, 1, hash_key(SECRET, PEPPER))
        assert key is not None
        self.key = key
        self.events = array("q")
        self.verdicts: dict[str, int] = {"offered": 0}
        self.waiting: list[tuple[int, int]] = []  # when to try again, attempt

    def run(self, first_us: int, last_us: int) -> None:
        following = first_us
        while (now := boot_us()) < last_us:
            while following <= now:
                following += max(1, int(self.random.expovariate(self.plan.rate) * 1e6))
                self.verdicts["offered"] += 1
                self.attempt(0)
            again = [attempt for when, attempt in self.waiting if when <= now]
            self.waiting = [entry for entry in self.waiting if entry[0] > now]
            for attempt in again:
                self.attempt(attempt)
            self.drain()
            time.sleep(max(0.0, min(0.001, (following - boot_us()) / 1e6)))

    def attempt(self, attempt: int) -> None:
        before = boot_us()
        verdict = self.gate.admit(
            self.key, "m", Endpoint.CHAT_COMPLETIONS, 0, 0, self.plan.tokens, 1, False
        )
        after = boot_us()
        if isinstance(verdict, int):
            self.events.extend((before, after, 1))
            self.gate.settle(verdict, 0, 0, self.plan.tokens, 200, Outcome.OK, 1000, None)
            self.count("admitted")
        elif verdict.code == Code.LEASE_WANTED and attempt < len(PAUSES):
            self.bell()
            self.waiting.append((after + int(PAUSES[attempt] * 1e6), attempt + 1))
        else:
            self.count(Code(verdict.code).name)

    def count(self, what: str) -> None:
        self.verdicts[what] = self.verdicts.get(what, 0) + 1

    def drain(self) -> None:
        journal = self.gate.journal
        if journal.free_slots < 2048:
            journal.free([row.slot for row in journal.rows(4096)])


if __name__ == "__main__":
    work(msgspec.json.decode(sys.argv[1], type=Plan), int(sys.argv[2]))
