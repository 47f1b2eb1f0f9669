"""Model the bank of leases in Python, for simulations of thousands of histories.

``test_redis_bank.py`` holds it equal to ``lua/sync.lua`` on a real server. It shares no code with
it.
"""

from copy import deepcopy
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil

from nemorouter.cluster.rates.messages import RateReply, RateRequest

SLOT = 1_000_000
PRESSED = 1_000_000
TOMB = 300_000_000
FOREVER = 1 << 52


@dataclass
class Entry:
    """The bank's entry of a holder."""

    granted: int
    spent: int
    refunded: int
    sequence: int = 0
    till: int = 0
    alive: bool = False
    dead: bool = False
    void: bool = False  # it was dead before its last question

    @property
    def left(self) -> int:
        """Return what the holder may still spend."""
        return self.granted - self.spent if self.alive else 0


@dataclass
class State:
    """One bucket. ``share`` is the remainder: one for each microsecond of the period is a token."""

    limit: int
    burst: int
    version: int
    period: int
    balance: int
    share: int
    refilled: int
    look: int
    starved: int = 0
    room: int = 0
    room_before: int = 0
    slot: int = 0
    slot_before: int = 0
    holders: dict[int, Entry] = field(default_factory=dict)

    @property
    def outstanding(self) -> int:
        return sum(entry.left for entry in self.holders.values())

    @property
    def free(self) -> int:
        """Return how much more the bank could hold."""
        return self.burst - self.outstanding - self.balance

    @property
    def chunk(self) -> int:
        return max(1, self.burst * self.per_mille // (1000 * max(1, self.living)))

    @property
    def living(self) -> int:
        return sum(entry.alive for entry in self.holders.values())

    per_mille: int = 50

    def trim(self) -> None:
        self.balance = min(self.balance, self.burst - self.outstanding)

    def refill(self, now: int) -> None:
        if now > self.refilled:
            shares = (now - self.refilled) * self.limit + self.share
            self.balance = self.balance + shares // self.period
            self.share = shares % self.period
            self.refilled = now
        if self.balance >= self.burst - self.outstanding:
            self.share = 0
            self.trim()

    def relimit(self, ask: RateRequest) -> None:
        if ask.version > self.version:
            self.balance += ask.burst - self.burst
            self.limit = ask.limit
            self.burst = ask.burst
            self.version = ask.version

    def measure(self, now: int, last: int) -> None:
        if now >= self.slot + SLOT:
            recent = now < self.slot + 2 * SLOT
            self.room_before = min(self.room, self.free) if recent else self.free
            self.slot_before = self.slot if recent else last
            self.room = self.free
            self.slot = now
        self.room = min(self.room, self.free)

    def expire(self, now: int) -> None:
        if now <= self.look:
            return
        self.look = now + TOMB
        for nonce, entry in list(self.holders.items()):
            if entry.alive and entry.till < now:
                entry.alive = False
                entry.dead = True
                entry.void = False
            look = entry.till if entry.alive else entry.till + TOMB
            if look < now:
                del self.holders[nonce]
            else:
                self.look = min(self.look, look)

    def reconcile(self, entry: Entry, ask: RateRequest) -> None:
        if entry.alive:
            self.balance += max(0, entry.granted - ask.place)
        if ask.place > entry.granted:
            self.balance = max(
                self.balance - (ask.place - entry.granted), min(self.balance, -self.burst)
            )
        self.balance -= max(0, ask.spent - ask.place)
        entry.granted = max(ask.place, ask.spent)
        entry.spent = entry.granted if entry.dead else ask.spent
        entry.void = entry.dead
        entry.alive = True
        entry.dead = False
        self.trim()

    def credit(self, entry: Entry, ask: RateRequest, since: int) -> None:
        refund = ask.refunded - entry.refunded
        entry.refunded = max(entry.refunded, ask.refunded)
        if refund > 0 and ask.refunded_at >= max(since, self.slot_before):
            room = min(
                self.room, self.free, self.room_before if ask.refunded_at < self.slot else self.room
            )
            refund = max(0, min(refund, room))
            self.balance += refund
            self.room -= refund
            self.room_before -= refund

    def grant(self, entry: Entry, ask: RateRequest, now: int) -> None:
        give = min(max(ask.demand, min(ask.target, self.chunk)), max(0, self.balance))
        if give < ask.need:
            self.starved = now
            give = 0
        self.balance -= give
        entry.granted += give

    def wait(self, need: int, now: int) -> int:
        if need <= self.balance:
            return 0
        if need > self.burst or self.limit == 0:
            return -1
        missing = Fraction((need - self.balance) * self.period - self.share, self.limit)
        return min(FOREVER, max(0, self.refilled - now) + ceil(missing))


class Bank:
    """All buckets of one server. ``copy`` it for a replica."""

    def __init__(self, ttl_us: int, per_mille: int = 50) -> None:
        self.ttl_us = ttl_us
        self.per_mille = per_mille
        self.epoch: int | None = None
        self.buckets: dict[int, State] = {}

    def copy(self) -> "Bank":
        return deepcopy(self)

    def flush(self) -> None:
        """All data are lost."""
        self.epoch = None
        self.buckets = {}

    def sync(self, number: int, ask: RateRequest, now: int, full_in: int = 0) -> RateReply:
        """Do what the script does for one bucket.

        ``full_in``: the epoch in which the bucket begins full.
        """
        epoch = now if self.epoch is None else self.epoch
        self.epoch = epoch
        state = self.buckets.get(number) or self._first(ask, now, epoch, full_in)
        self.buckets[number] = state
        last = state.refilled
        state.refill(now)
        state.relimit(ask)
        state.measure(now, last)
        state.expire(now)
        entry = state.holders.get(ask.nonce)
        if entry is None:
            forgiven = ask.epoch != epoch != full_in
            entry = Entry(ask.place if forgiven else 0, 0, ask.refunded)
            state.holders[ask.nonce] = entry
        if ask.sequence > entry.sequence:
            self._settle(state, entry, ask, now, epoch + self.ttl_us)
        state.measure(now, now)
        return RateReply(
            sequence=entry.sequence,
            epoch=epoch,
            place=entry.granted,
            balance=state.balance,
            wait=state.wait(ask.need, now),
            pressed=now < state.starved + PRESSED,
            chunk=state.chunk,
            void=entry.void,
            others=state.outstanding - entry.left,
        )

    def _settle(self, state: State, entry: Entry, ask: RateRequest, now: int, since: int) -> None:
        state.reconcile(entry, ask)
        state.credit(entry, ask, since)
        state.grant(entry, ask, now)
        entry.sequence = ask.sequence
        entry.till = now + self.ttl_us
        if ask.bye and entry.left == 0:
            entry.alive = False
            entry.dead = True
            entry.void = False
        state.look = min(state.look, entry.till)

    def _first(self, ask: RateRequest, now: int, epoch: int, full_in: int) -> State:
        start = now if full_in == epoch else epoch + self.ttl_us
        shares = max(0, now - start) * ask.limit
        shares = ask.burst * ask.period if full_in == epoch else min(shares, ask.burst * ask.period)
        balance, share = divmod(shares, ask.period)
        room = ask.burst - balance
        return State(
            limit=ask.limit,
            burst=ask.burst,
            version=ask.version,
            period=ask.period,
            balance=balance,
            share=share,
            refilled=max(now, start),
            look=now + TOMB,
            room=room,
            room_before=room,
            slot=now,
            slot_before=now,
            per_mille=self.per_mille,
        )
