"""Test what a host lends itself without the bank, and what it owes afterwards.

Time is moved, nothing sleeps.
"""

from random import Random

import pytest

from nemorouter.cluster.clock import BankClock
from nemorouter.cluster.rates.holder import Holder
from nemorouter.cluster.rates.offline_share import OfflineShare
from nemorouter.cluster.rates.terms import Terms
from tests.support.leases.bank import Bank
from tests.support.leases.words import Words
from tests.support.oracle import Event, worst_window

SECOND = 1_000_000
LIMIT = 6_000
BURST = 100
TERMS = Terms()
BANK_ZERO = 1 << 50


class Host:
    """One host's words and share, and what its clients got."""

    def __init__(self, events: list[Event], share: float) -> None:
        self.now = 0
        self.events = events
        self.words = Words(LIMIT, BURST, lambda: self.now)
        self.share = OfflineShare(self.words, TERMS, share, 0)

    def ask(self, tokens: int = 1) -> bool:
        """As a worker does: claim, or wait for what the agent can give."""
        if not (done := self.words.claim(tokens)):
            self.share.serve(0, 0, tokens, self.now)
            done = self.words.claim(tokens)
        if done:
            self.events.append((self.now, tokens))
        return bool(done)

    def lands(self, bank: Bank, nonce: int) -> int:
        """Redis is back: what is owed is said at once. Answers it."""
        owed = self.share.owed(0, 0, self.now)
        self.holder = Holder(self.words, 0, 0, TERMS, nonce, self.now, owed, bank.epoch or 0)
        self.talk(bank)
        return owed

    def talk(self, bank: Bank) -> None:
        ask = self.holder.ask(self.now, BankClock(), 0)
        if ask is not None:
            self.holder.receive(bank.sync(0, ask, BANK_ZERO + self.now), self.now)

    def spends_all(self, bank: Bank) -> None:
        """Clients ask the bank for all that they can get."""
        while True:
            self.holder.demand(1)
            self.talk(bank)
            if not self.words.claim(1):
                return
            self.events.append((self.now, 1))


def test_it_begins_empty_and_gives_its_part() -> None:
    host = Host([], 0.25)
    assert not host.ask()
    for host.now in range(0, 4 * SECOND, 1_000):
        host.ask()
    assert len(host.events) == pytest.approx(100, abs=1)
    host.now += 60 * SECOND
    while host.ask():
        pass
    assert len(host.events) == pytest.approx(125, abs=1), "it holds a quarter of the burst"


def test_who_is_refused_is_told_when_to_come_again() -> None:
    host = Host([], 0.1)
    assert not host.ask(5)
    assert (host.words.deny_need, host.words.deny_until) == (1, 500_000)
    host.now = 499_999
    assert not host.ask(5)
    host.now = 500_000
    assert host.ask(5)


@pytest.mark.parametrize("seed", range(12))
def test_hosts_without_a_bank_keep_the_limit_and_owe_it_what_they_spent(seed: int) -> None:
    """Run four hosts with a quarter each: exact in every window, also across the bank's return."""
    random = Random(seed)
    events = list[Event]()
    bank = Bank(TERMS.ttl, 50)
    bank.epoch = BANK_ZERO - 1000 * SECOND
    hosts = [Host(events, 0.25) for _ in range(4)]
    shares = random.choice(([1, 1, 1, 1], [10, 1, 1, 0], [1, 0, 0, 0]))
    end = random.randrange(50_000, 20 * SECOND)
    for now in range(0, end, 4_000):
        (host,) = random.choices(hosts, shares)
        host.now = now
        host.ask(random.choice((1, 1, 7)))
    for host in hosts:  # all that is left in the shares, at one instant
        host.now = end
        while random.random() < 0.9 and host.ask():
            pass
    touched = [host for host in hosts if host.share.leases]
    owed = [host.lands(bank, number) for number, host in enumerate(touched, 1)]
    assert 0 < sum(owed) <= BURST
    for host in touched:
        host.spends_all(bank)
    assert worst_window(sorted(events), LIMIT) <= BURST
