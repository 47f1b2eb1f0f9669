"""Simulate hosts and a bank of leases on a simulated network and clock: one seed, one history.

The hosts run the product's code. Only the arena's words and the bank are models; the bank's is held
equal to the Lua. Times are microseconds.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from nemorouter.cluster.clock import BankClock
from nemorouter.cluster.rates.holder import Holder
from nemorouter.cluster.rates.messages import RateReply, RateRequest
from nemorouter.cluster.rates.terms import Terms
from tests.support.leases.bank import Bank
from tests.support.leases.words import Words
from tests.support.oracle import Event, worst_window

TERMS = Terms(ttl=400_000, tick=20_000, idle=200_000)
TIMEOUT = 150_000
BANK_ZERO = 1 << 50  # what the bank's clock shows when the simulation begins
PATIENCE = (2_000, 4_000, 8_000, 16_000)  # how a worker waits for its host's agent


@dataclass
class Faults:
    """Chances and times of what goes wrong."""

    lose: float = 0.0  # of each message
    repeat: float = 0.0
    slow: float = 0.0  # comes late, after others that were sent later
    freeze: float = 0.0  # a second, of each host
    crash: float = 0.0  # a second, of each host's agent; a third of them take the arena along
    flushes: tuple[int, ...] = ()
    fresh: bool = False  # the bank is in its first epoch
    born: int | None = None  # the scope is made during the history, at this time
    failovers: tuple[tuple[int, int], ...] = ()  # when, and how far the replica lags
    skew: bool = False


@dataclass
class Load:
    """The load of clients: one bucket, so many requests a second, unevenly over the hosts."""

    limit: int = 6_000
    burst: int = 60
    rate: float = 250.0
    largest: int = 1
    shares: tuple[float, ...] = (0.6, 0.3, 0.1)
    refunds: bool = False
    pauses: bool = False  # clients come in bursts, with pauses in which the bucket fills
    per_mille: int = 50  # share of the burst that may lie in leases


class Host:
    """One host: its words, its agent, and a clock of its own."""

    def __init__(self, world: "World", number: int) -> None:
        self.world = world
        self.number = number
        skewed = world.faults.skew
        self.offset = world.random.randrange(1 << 40)
        self.pace = 1.0 + (world.random.uniform(-4e-4, 4e-4) if skewed else 0.0)
        self.frozen_until = 0
        self.boot()
        self.note()

    def boot(self) -> None:
        """Begin with empty memory."""
        self.words = Words(self.world.load.limit, self.world.load.burst, self.now)
        self.holder: Holder | None = None
        self.clock = BankClock()

    def now(self) -> int:
        return self.offset + int(self.world.now * self.pace)

    def note(self) -> None:
        """Read the bank's epoch, then what the store knows."""
        self.epoch = self.world.bank.epoch
        self.noted_at = self.world.now

    @property
    def full_in(self) -> int:
        """The epoch in which the bucket begins full."""
        born = self.world.faults.born
        young = born is not None and self.noted_at < born
        return (self.epoch or 0) if young or self.epoch == self.world.first_epoch else 0

    def take_over(self) -> None:
        """Replace the agent: the new one finds the words as the old one left them."""
        self.holder = None
        self.clock = BankClock()
        if self.words.until_us:
            self.agent()

    def agent(self) -> Holder:
        if self.holder is None:
            self.holder = Holder(
                self.words, 0, int(self.world.load.refunds), TERMS, self.world.nonce(), self.now()
            )
        return self.holder

    def wake(self, need: int) -> None:
        self.agent().demand(need)
        self.step()

    def tick(self) -> None:
        if self.holder is not None:
            self.step()
        self.world.at(self.world.now + TERMS.tick, self, self.tick)

    def step(self) -> None:
        holder = self.agent()
        if holder.finished:
            self.holder = None
            return
        ask = holder.ask(self.now(), self.clock, self.world.nonce())
        if ask is not None:
            self.world.calls += 1
            self.world.send(self, holder, ask)
            self.world.at(self.world.now + TIMEOUT, self, lambda: self.give_up(holder, ask))

    def give_up(self, holder: Holder, ask: RateRequest) -> None:
        if holder is self.holder and holder.asked == ask:
            holder.lost()

    def heard(self, holder: Holder, bank_now: int, reply: RateReply) -> None:
        if holder is self.holder:
            self.clock.observe(bank_now, self.now())
            holder.receive(reply, self.now())


class World:
    """One history."""

    def __init__(self, seed: int, load: Load, faults: Faults, seconds: float) -> None:
        self.random = Random(seed)
        self.load = load
        self.faults = faults
        self.now = 0
        self.end = int(seconds * 1e6)
        self.bank = Bank(TERMS.ttl, load.per_mille)
        self.first_epoch = BANK_ZERO if faults.fresh else 0
        self.bank.epoch = self.first_epoch or (
            BANK_ZERO - 10 * load.burst * 60_000_000 // load.limit
        )  # it has been there for long
        self.events: list[Event] = []
        self.lost: list[int] = []  # tokens that each failover forgot
        self.offered = 0
        self.calls = 0
        self.quiet_until = 0
        self.held = not (faults.flushes or faults.failovers or faults.crash)
        self._agenda: list[tuple[int, int, Host | None, Callable[[], Any]]] = []
        self._count = 0
        self._nonces = 0
        self.hosts = [Host(self, number) for number in range(len(load.shares))]
        self._plan()

    def nonce(self) -> int:
        self._nonces += 1
        return self._nonces

    def at(self, when: int, host: Host | None, what: Callable[[], Any]) -> None:
        self._count += 1
        heapq.heappush(self._agenda, (when, self._count, host, what))

    def _plan(self) -> None:
        for host in self.hosts:
            self.at(self.random.randrange(TERMS.tick), host, host.tick)
            self._next_request(host)
            for chance, what in (
                (self.faults.freeze, self._freeze),
                (self.faults.crash, self._crash),
            ):
                if chance:
                    self._now_and_then(chance, host, what)
        for when in self.faults.flushes:
            self.at(when, None, self._flush)
        for when, lag in self.faults.failovers:
            self.at(when - lag, None, lambda when=when: self._fork(when))  # type: ignore[misc]

    def _now_and_then(self, rate: float, host: Host, what: Callable[[Host], None]) -> None:
        def happen() -> None:
            what(host)
            self._now_and_then(rate, host, what)

        self.at(self.now + int(self.random.expovariate(rate) * 1e6), host, happen)

    def run(self) -> "World":
        while self._agenda and self._agenda[0][0] <= self.end:
            when, _, host, what = heapq.heappop(self._agenda)
            self.now = max(self.now, when)
            if host is not None and host.frozen_until > self.now:
                self.at(host.frozen_until, host, what)
            else:
                what()
        return self

    def _freeze(self, host: Host) -> None:
        host.frozen_until = self.now + self.random.randrange(10_000, 3 * TERMS.ttl)

    def _crash(self, host: Host) -> None:
        if self.random.random() < 1 / 3:
            host.boot()
        else:
            host.take_over()
        host.note()

    def _flush(self) -> None:
        """Lose all data.

        Some hosts note the new epoch at once, since another bucket told them of it, some later.
        """
        self.bank.flush()
        for host in self.hosts:
            delay = self.random.choice((0, self.random.randrange(TERMS.ttl)))
            self.at(self.now + delay, host, partial(self._note, host))

    def _note(self, host: Host) -> None:
        if self.bank.epoch is None:
            self.bank.epoch = BANK_ZERO + self.now
        host.note()

    def _fork(self, when: int) -> None:
        replica = self.bank.copy()
        self.at(when, None, lambda: self._promote(replica))

    def _promote(self, replica: Bank) -> None:
        """Count what the replica does not know of."""
        lost = 0
        for number, state in self.bank.buckets.items():
            known = replica.buckets[number].holders if number in replica.buckets else {}
            for nonce, entry in state.holders.items():
                before = known[nonce].granted if nonce in known else 0
                lost += max(0, entry.granted - before)
        self.lost.append(lost)
        self.bank = replica

    def _next_request(self, host: Host) -> None:
        rate = self.load.rate * self.load.shares[host.number]
        if self.load.pauses and self.now >= self.quiet_until and self.random.random() < 0.02:
            full = self.load.burst * 60_000_000 // self.load.limit
            self.quiet_until = self.now + self.random.randrange(2 * full)
            if self.faults.freeze and self.random.random() < 0.5:
                self._freeze(self.random.choice(self.hosts))
        when = (
            max(self.now, self.quiet_until, self.faults.born or 0)
            + 1
            + int(self.random.expovariate(rate) * 1e6)
        )
        self.at(when, host, lambda: self._request(host))

    def _request(self, host: Host) -> None:
        self._next_request(host)
        self.offered += 1
        self._try(host, host.words, self.random.randint(1, self.load.largest), 0)

    def _try(self, host: Host, words: Words, tokens: int, attempt: int) -> None:
        if words is not host.words:
            return  # the host crashed meanwhile
        if self.held and host.holder is not None:
            self._check_held(host, words)
        verdict = words.claim(tokens)
        if verdict:
            self._admitted(host, words, tokens)
            if words.low():
                host.wake(0)
        elif verdict is None:
            host.wake(tokens)
            if attempt < len(PATIENCE):
                self.at(
                    self.now + PATIENCE[attempt],
                    host,
                    lambda: self._try(host, words, tokens, attempt + 1),
                )

    def _check_held(self, host: Host, words: Words) -> None:
        """I-HOLD: the bank counts at least what the host can still spend."""
        state = self.bank.buckets.get(0)
        held = sum(entry.left for entry in state.holders.values()) if state else 0
        assert words.unspent <= held, (host.number, words, held)

    def _admitted(self, host: Host, words: Words, tokens: int) -> None:
        if (
            self.load.refunds and self.random.random() < 0.05
        ):  # a later level refuses: taken for an instant

            def roll_back() -> None:
                words.returned += tokens

            self.at(self.now + 200, None, roll_back)
            return
        self.events.append((self.now, tokens))
        if self.load.refunds:
            actual = self.random.randint(0, tokens + tokens // 8)
            after = self.random.choice((1_000, 30_000, 300_000, 900_000))
            self.at(self.now + after, host, lambda: self._settle(words, tokens - actual))

    def _settle(self, words: Words, refund: int) -> None:
        if refund >= 0:
            words.returned += refund
            self.events.append((self.now, -refund))
        else:
            words.claimed -= refund

    def send(self, host: Host, holder: Holder, ask: RateRequest) -> None:
        """To the bank and back, or not."""
        full_in = host.full_in
        for delay in self._deliveries():
            self.at(self.now + delay, None, lambda: self._arrive(host, holder, ask, full_in))

    def _arrive(self, host: Host, holder: Holder, ask: RateRequest, full_in: int) -> None:
        bank_now = BANK_ZERO + self.now
        reply = self.bank.sync(0, ask, bank_now, full_in)
        state = self.bank.buckets[0]
        assert state.balance + state.outstanding <= state.burst, "I-LEDGER"
        assert all(entry.left >= 0 for entry in state.holders.values()), "I-LEDGER"
        for delay in self._deliveries():
            self.at(self.now + delay, host, lambda: host.heard(holder, bank_now, reply))

    def _deliveries(self) -> list[int]:
        random = self.random
        faults = self.faults
        if random.random() < faults.lose:
            return []
        times = 2 if random.random() < faults.repeat else 1
        return [
            random.randrange(100, 400_000 if random.random() < faults.slow else 2_000)
            for _ in range(times)
        ]

    @property
    def admitted(self) -> int:
        return sum(tokens for _, tokens in self.events)

    def worst(self) -> int:
        """Return the most that a window had beyond what flows in; the burst bounds it."""
        return worst_window(self.events, self.load.limit)
