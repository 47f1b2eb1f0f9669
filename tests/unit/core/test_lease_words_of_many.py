"""Test four hosts of two workers on the native words, and a bank of thirty lines.

What all of them admit together keeps I-WINDOW, whatever the order of requests, settlements, reports
and ends of leases. The bank of the product has tests of its own.
"""

import random
from typing import Any

import pytest

from nemorouter import _core
from nemorouter.errors import Code
from nemorouter.types import Kind, Outcome, Policy
from tests.support.oracle import MINUTE_US, worst_window
from tests.support.rates import by_name

PEPPER = b"n" * 32
RPM = 0
TPM = 1
TICK_US = 10_000
TTL_US = 400_000


class Bank:
    """One bucket of ``limit`` a minute: what is left, and what hosts hold that is not reported."""

    def __init__(self, limit: int, now_us: int) -> None:
        self.limit = limit
        self.at_us = now_us
        self.shares = limit * MINUTE_US
        self.granted, self.claimed, self.returned, self.end_us = ([0] * 4 for _ in range(4))

    def refill(self, now_us: int) -> None:
        for host in range(4):
            if now_us >= self.end_us[host]:
                self.claimed[host] = self.granted[host]  # void
        out = sum(self.granted) - sum(self.claimed)
        self.shares = min(
            self.shares + (now_us - self.at_us) * self.limit, (self.limit - out) * MINUTE_US
        )
        self.at_us = now_us

    def sync(self, host: int, claimed: int, returned: int, want: int, now_us: int) -> int:
        """Up to where ``host`` may claim."""
        self.refill(now_us)
        self.shares += (
            returned - self.returned[host] - max(0, claimed - self.granted[host])
        ) * MINUTE_US
        self.granted[host] = max(self.granted[host], claimed)
        self.claimed[host] = max(self.claimed[host], claimed)
        self.returned[host] = returned
        self.end_us[host] = now_us + TTL_US
        self.refill(now_us)
        give = max(0, min(want, self.shares // MINUTE_US))
        self.shares -= give * MINUTE_US
        self.granted[host] += give
        return self.granted[host]


class Host:
    """An arena, two workers, and an agent.

    The agent reports what was claimed one tick ago with what was returned until now.
    """

    def __init__(self, number: int, clock: Any, **limits: Any) -> None:
        self.number = number
        self.clock = clock
        self.arena = _core.Arena.private(16)
        self.arena.clustered = True
        self.arena.admit_until_us = 0
        self.arena.put(Policy(kind=Kind.ORG, id=1, version=1))
        self.arena.put(Policy(kind=Kind.TEAM, id=2, version=1, org=1))
        self.key = self.arena.put(
            Policy(kind=Kind.KEY, id=3, version=1, org=1, team=2, digest=PEPPER, **by_name(limits))
        )
        journals = (_core.Journal.private(256, ("u",)) for _ in range(2))
        self.gates = [_core.Gate(self.arena, journal, [(1, PEPPER)], clock) for journal in journals]
        self.open: list[tuple[Any, int]] = []
        self.reported = {RPM: 0, TPM: 0}

    def admit(self, tokens: int, events: dict[int, list[tuple[int, int]]]) -> None:
        gate = random.choice(self.gates)
        ticket = gate.admit(self.key, "m", 0, 0, 0, tokens, 1, False)
        if isinstance(ticket, int):
            self.open.append((gate, ticket))
            events[RPM].append((gate.now_us(), 1))
            events[TPM].append((gate.now_us(), tokens))
        else:
            assert ticket.code in (Code.LEASE_WANTED, Code.OVERLOADED)

    def settle(self, used: int) -> None:
        if self.open:
            gate, ticket = self.open.pop(0)
            gate.settle(ticket, 0, 0, used, 200, Outcome.OK, 1, None)
            gate.journal.free([row.slot for row in gate.journal.rows()])

    def tick(
        self, resource: int, bank: Bank, events: list[tuple[int, int]], *, silent: bool
    ) -> None:
        now_us = self.gates[0].now_us()
        lease = self.arena.lease(self.key, resource)
        if silent:
            return
        if lease.until_us and now_us >= lease.until_us:
            self.arena.void(self.key, resource)
            lease = self.arena.lease(self.key, resource)
            self.reported[resource] = lease.claimed
        back = lease.returned - bank.returned[self.number]
        want = max(0, bank.limit // 8 - (lease.granted - lease.claimed))
        granted = bank.sync(self.number, self.reported[resource], lease.returned, want, now_us)
        if back:
            events.append((now_us, -back))  # a refund counts when the bank has it
        self.reported[resource] = lease.claimed
        self.arena.grant(self.key, resource, granted, now_us + TTL_US)


@pytest.mark.parametrize("seed", range(6))
def test_hosts_together_keep_every_window(seed: int) -> None:
    random.seed(seed)
    rpm, tpm = random.choice([(60, 6000), (600, 3000), (6000, 60_000)])
    clock = _core.ManualClock(boot_us=10**9)
    hosts = [Host(number, clock, rpm=rpm, tpm=tpm) for number in range(4)]
    now_us = hosts[0].gates[0].now_us()
    banks = {RPM: Bank(rpm, now_us), TPM: Bank(tpm, now_us)}
    events: dict[int, list[tuple[int, int]]] = {RPM: [], TPM: []}
    frozen = {host.number: 0 for host in hosts}
    for turn in range(2000):
        clock.advance(TICK_US)
        quiet = turn % 500 < 150
        for host in random.sample(hosts, 4):
            for _ in range(0 if quiet else random.choice([0, 1, 1, 2, 4])):
                host.admit(random.choice([1, 5, 20]), events)
            if random.random() < 0.5:
                host.settle(random.choice([0, 1, 10]))
            if random.random() < 0.005:
                frozen[host.number] = 100
            frozen[host.number] = max(0, frozen[host.number] - 1)
            for resource in random.sample([RPM, TPM], 2):
                host.tick(
                    resource, banks[resource], events[resource], silent=frozen[host.number] > 0
                )
    admitted = [event for event in events[RPM] if event[1] > 0]
    assert worst_window(events[RPM], rpm) <= rpm
    assert worst_window(admitted, rpm) <= rpm, "also by what clients saw"
    assert worst_window(events[TPM], tpm) <= tpm
    assert len(admitted) > 0.3 * min(rpm, tpm // 10) * 20 / 60, "and they do work"
