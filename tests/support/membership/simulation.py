"""Simulate a fleet: hosts, waiters and a Redis that forgets, freezes and fails over.

Messages are lost, doubled or late. One seed is one history. The promise that is checked: after a
waiter was told that all hosts applied a change, no host admits against it.
"""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from nemorouter.cluster.membership.hosts import (
    RENEW_US,
    ChangeWait,
    HostLease,
    LeaseRequest,
    RegistryView,
)
from tests.support.membership.registry import Model

SECOND = 1_000_000


@dataclass
class Sim:
    """True time, what is to happen, and what the seed decides."""

    seed: int
    rng: random.Random = field(init=False)
    now: int = 0
    events: list[tuple[int, int, Callable[[], None]]] = field(default_factory=list)
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    committed: int = 0  # the store's newest change: each revokes one key, whose name is its number
    applied: dict[int, int] = field(
        default_factory=dict
    )  # change → true time at which its waiter returned
    admitted: int = 0
    refused: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.redis = Model("run0")
        self.replica = Model("none")
        self.frozen_until = 0
        self.cut: dict[object, int] = {}  # who reaches Redis again when

    def at(self, delay: int, work: Callable[[], None]) -> None:
        """Do ``work`` after ``delay`` µs."""
        heapq.heappush(self.events, (self.now + delay, next(self.numbers), work))

    def run(self, seconds: int) -> None:
        """Let time pass."""
        while self.events and self.events[0][0] < seconds * SECOND:
            self.now, _, work = heapq.heappop(self.events)
            work()

    def ask(
        self, who: object, what: tuple[object, ...], answered: Callable[[RegistryView], None]
    ) -> None:
        """Call a script over a bad network.

        The call may arrive late, twice or never, and so may its answer.
        """
        fresh = f"e{next(self.numbers)}"
        for _ in range(1 + (self.rng.random() < 0.05)):
            if self.cut.get(who, 0) > self.now or self.rng.random() < 0.05:
                continue
            self.at(self._latency(), lambda: self._arrive(who, fresh, what, answered))

    def _arrive(
        self,
        who: object,
        fresh: str,
        what: tuple[object, ...],
        answered: Callable[[RegistryView], None],
    ) -> None:
        if self.now < self.frozen_until:
            self.at(self.frozen_until - self.now, lambda: self._arrive(who, fresh, what, answered))
            return
        look = self.redis.call(fresh, *what)  # type: ignore[arg-type]
        if self.cut.get(who, 0) <= self.now and self.rng.random() > 0.05:
            self.at(self._latency(), lambda: answered(look))

    def _latency(self) -> int:
        return int(self.rng.expovariate(1 / 2000)) + (
            self.rng.randrange(3 * SECOND) if self.rng.random() < 0.03 else 0
        )

    def replicate(self) -> None:
        """Copy the data set to the replica, which is a little old."""
        self.replica = self.redis.promoted("none")
        self.at(self.rng.randrange(6 * SECOND), self.replicate)

    def disturb(self) -> None:
        """Something happens to Redis, or to somebody's way to it."""
        kind = self.rng.randrange(4)
        if kind == 0:
            self.redis.flush()
        elif kind == 1:
            self.redis = self.replica.promoted(f"run{next(self.numbers)}")
        elif kind == 2:
            self.frozen_until = self.now + self.rng.randrange(4 * SECOND)
        elif self.cut:
            self.cut[self.rng.choice(list(self.cut))] = self.now + self.rng.randrange(20 * SECOND)
        self.at(self.rng.randrange(1, 30 * SECOND), self.disturb)


class SimHost:
    """A host: it follows the store, renews its lease, and admits while it holds it."""

    def __init__(self, sim: Sim, id: int) -> None:
        self.sim = sim
        self.id = id
        self.rate = 1 + sim.rng.uniform(-0.01, 0.01)  # its clock is a little fast or slow
        self.applied = sim.committed
        self.caught = 0
        self.lease = HostLease()
        self.dead = False
        self.asleep = 0
        sim.cut[self] = 0
        sim.at(sim.rng.randrange(RENEW_US), self.renew)
        sim.at(sim.rng.randrange(RENEW_US), self.follow)
        sim.at(0, self.admit)
        sim.at(sim.rng.randrange(60 * SECOND), self.stumble)

    def clock(self) -> int:
        return int(self.sim.now * self.rate)

    def _go_on(self, delay: int, work: Callable[[], None]) -> bool:
        """May ``work`` be done now? A frozen host does it when it wakes, a dead one never."""
        if self.dead:
            return False
        if self.sim.now < self.asleep:
            self.sim.at(self.asleep - self.sim.now, work)
            return False
        self.sim.at(delay, work)
        return True

    def renew(self) -> None:
        if self._go_on(RENEW_US, self.renew):
            self.ask()

    def ask(self) -> None:
        sent = self.clock()
        ask = self.lease.ask(self.caught, sent, f"t{next(self.sim.numbers)}")
        if ask is not None:
            what = (ask.what, self.id, ask.token, self.applied)
            self.sim.ask(self, what, lambda look: self.told(ask, look, sent))

    def told(self, ask: LeaseRequest, look: RegistryView, sent: int) -> None:
        """Receive an answer, which is read when the host is awake."""
        if self.dead:
            return
        if self.sim.now < self.asleep:
            self.sim.at(self.asleep - self.sim.now, lambda: self.told(ask, look, sent))
            return
        if not self.lease.answered(ask, look, sent, self.clock()) and look.verdict in (
            "registered",
            "unknown",
        ):
            self.ask()

    def follow(self) -> None:
        """Read the store, if it can be reached."""
        slow = 40 * SECOND if self.sim.rng.random() < 0.02 else 600_000
        if self._go_on(self.sim.rng.randrange(slow), self.follow):
            begun = self.clock()
            seen = self.sim.committed
            self.sim.at(self.sim.rng.randrange(100_000), lambda: self.follow_up(begun, seen))

    def follow_up(self, begun: int, seen: int) -> None:
        """Apply what was read, a little later."""
        if self.sim.now < self.asleep:
            self.sim.at(self.asleep - self.sim.now, lambda: self.follow_up(begun, seen))
            return
        self.caught = max(self.caught, begun)
        self.applied = max(self.applied, seen)

    def admit(self) -> None:
        """Send a request with the oldest revoked key that this host does not know to be revoked."""
        if not self._go_on(self.sim.rng.randrange(80_000), self.admit):
            return
        if not self.lease.held(self.clock()):
            self.sim.refused += 1
            return
        self.sim.admitted += 1
        for change in range(self.applied + 1, self.sim.committed + 1):
            assert change not in self.sim.applied, (
                f"seed {self.sim.seed}: host {self.id} admitted at {self.sim.now} against change "
                f"{change}, "
                f"which was applied by all since {self.sim.applied[change]}"
            )

    def reborn(self) -> None:
        SimHost(self.sim, self.id + 1000)

    def stumble(self) -> None:
        """Freeze for a while, or die and come back as another."""
        if self.dead:
            return
        if self.sim.rng.random() < 0.3:
            self.dead = True
            del self.sim.cut[self]
            self.sim.at(self.sim.rng.randrange(20 * SECOND), self.reborn)
        else:
            self.asleep = self.sim.now + self.sim.rng.randrange(15 * SECOND)
        self.sim.at(self.sim.rng.randrange(60 * SECOND), self.stumble)


class SimWaiter:
    """Commits a change and waits for all, as ``bus`` does."""

    def __init__(self, sim: Sim, wait: type[ChangeWait] = ChangeWait) -> None:
        self.sim = sim
        self.rate = 1 + sim.rng.uniform(-0.01, 0.01)
        sim.committed += 1
        self.sequence = sim.committed
        self.wait = wait(self.sequence, self.clock())
        self.over = False
        sim.cut[self] = 0
        self.poll()

    def clock(self) -> int:
        return int(self.sim.now * self.rate)

    def poll(self) -> None:
        if not self.over:
            self._ask("announce", self.sequence)
            self.sim.at(self.sim.rng.randrange(1000, 600_000), self.poll)

    def _ask(self, *what: object) -> None:
        asked = self.clock()
        self.sim.ask(self, what, lambda look: self._see(look, asked))

    def _see(self, look: RegistryView, asked: int) -> None:
        if self.over:
            return
        step = self.wait.see(look, asked, self.clock())
        if step.done:
            self.over = True
            del self.sim.cut[self]
            self.sim.applied[self.sequence] = self.sim.now
        if step.fence:
            self._ask("announce", self.sequence, *step.fence)
        for host in step.evict:
            self._ask("evict", look.epoch, host.id, host.renewals)
        if step.mature:
            self._ask("mature", look.epoch)


def play(
    seed: int, *, seconds: int = 150, hosts: int = 3, wait: type[ChangeWait] = ChangeWait
) -> Sim:
    """One history; AssertionError with its seed if the promise was broken."""
    sim = Sim(seed)
    for id in range(hosts):
        SimHost(sim, id + 1)
    sim.replicate()
    sim.at(sim.rng.randrange(20 * SECOND), sim.disturb)

    def revoke() -> None:
        SimWaiter(sim, wait)
        sim.at(sim.rng.randrange(1, 4 * SECOND), revoke)

    sim.at(SECOND, revoke)
    sim.run(seconds)
    return sim
