"""Test a host that may only spend what it was granted, with a clock that stands still.

The native words are tried at every level. The rules of one machine are in ``test_gates``; the
reference gate knows no leases.
"""

from typing import Any

import pytest

from nemorouter import _core
from nemorouter.errors import Code
from nemorouter.types import MONEY, NANO, RATES, Kind, ModelPrice, Outcome, Policy
from tests.support.rates import by_name

PEPPER = b"n" * 32
SECRET = "sk-nemo-" + "R" * 20
RPM = 0
TPM = 1
FOREVER = 1 << 60


class World:
    """One org, team, user and key of a clustered host, unlimited until told otherwise."""

    def __init__(self, **key: Any) -> None:
        self.clock = _core.ManualClock()
        self.arena = _core.Arena.private(64)
        self.arena.clustered = True
        self.arena.admit_until_us = 0
        self.journal = _core.Journal.private(8, ("echo",))
        self.gate = _core.Gate(self.arena, self.journal, [(1, PEPPER)], self.clock)
        self.version = 0
        self.arena.put_price(ModelPrice(model="m", version=1, input=0, output=NANO))
        self.org, self.team, self.user = (
            self.put(kind) for kind in (Kind.ORG, Kind.TEAM, Kind.USER)
        )
        self.key = self.put(Kind.KEY, **key)

    def put(self, kind: Kind, **fields: Any) -> int:
        self.version += 1
        owners: dict[str, Any] = {"org": 1} if kind != Kind.ORG else {}
        if kind == Kind.KEY:
            owners |= {"team": 1, "user": 1, "digest": _core.hash_key(SECRET, PEPPER)}
        return self.arena.put(
            Policy(kind=kind, id=1, version=self.version, **owners, **by_name(fields))
        )

    def admit(self, tokens: int = 10) -> Any:
        """Admit ``tokens`` of output, at a thousand nano-USD each.

        Return the ticket or the refusal.
        """
        return self.gate.admit(self.key, "m", 0, 0, 0, tokens, 1, False)

    def code(self, tokens: int = 10) -> int:
        verdict = self.admit(tokens)
        return 0 if isinstance(verdict, int) else verdict.code

    def settle(self, ticket: int, tokens: int) -> None:
        self.gate.settle(ticket, 0, 0, tokens, 200, Outcome.OK, 1000, None)

    def left(self, index: int, resource: int) -> int:
        lease = self.arena.lease(index, resource)
        return lease.granted - lease.claimed


def test_nothing_is_spent_before_it_is_granted() -> None:
    world = World(rpm=60)
    assert world.code() == Code.LEASE_WANTED
    assert world.arena.take_demand() == [(world.key, RPM, 1)]
    assert world.arena.take_demand() == []
    world.arena.grant(world.key, RPM, 2, FOREVER)
    assert [world.code(), world.code(), world.code()] == [0, 0, Code.LEASE_WANTED]
    assert world.journal.counters()["refused_lease_wanted"] == 2
    assert world.journal.take_refusal_counts(1 << 40) == []


def test_one_round_asks_for_all_that_is_short_and_takes_nothing() -> None:
    world = World(rpm=60, tpm=1000, cap=NANO)
    world.put(Kind.TEAM, tpm=5000)
    world.put(Kind.ORG, rpm=600)
    world.arena.grant(world.team, TPM, 5000, FOREVER)
    assert world.code(10) == Code.LEASE_WANTED
    wants = [
        (world.key, RPM, 1),
        (world.key, TPM, 10),
        (world.key, MONEY, 10_000),
        (world.org, RPM, 1),
    ]
    assert sorted(world.arena.take_demand()) == sorted(wants)
    assert world.left(world.team, TPM) == 5000


def test_a_lease_ends_on_the_microsecond() -> None:
    world = World(rpm=60)
    now = world.gate.now_us()
    world.arena.grant(world.key, RPM, 5, now + 10)
    world.clock.advance(9)
    assert world.code() == 0
    world.clock.advance(1)
    assert world.code() == Code.LEASE_WANTED
    assert world.arena.leased() == [(world.key, RPM)]
    assert world.arena.void(world.key, RPM) == 4
    assert world.arena.leased() == []
    world.arena.grant(world.key, RPM, 6, now + 100)
    assert [world.code(), world.code()] == [0, Code.LEASE_WANTED], (
        "the void four are not spent with the new one"
    )


def test_a_denial_is_the_ordinary_refusal() -> None:
    world = World(rpm=60, tpm=1000)
    now = world.gate.now_us()
    world.arena.grant(world.key, RPM, 100, FOREVER)
    world.arena.deny(world.key, TPM, 50, now + 100_000, now + 1_000_000)
    assert world.code(49) == Code.LEASE_WANTED, "less than was denied"
    refusal = world.admit(50)
    assert (refusal.code, refusal.kind, refusal.limit) == (Code.TPM_LIMIT_EXCEEDED, Kind.KEY, 1000)
    assert refusal.retry_after_us == 1_000_000
    assert world.admit(150).retry_after_us == 7_000_000, "a hundred more at a thousand a minute"
    assert world.admit(1001).retry_after_us is None, "never, whatever the bank says"
    world.clock.advance(100_000)
    assert world.code(50) == Code.LEASE_WANTED
    world.arena.deny(world.key, TPM, 1, now + 10**9)
    world.arena.grant(world.key, TPM, 60, FOREVER)
    assert [world.code(50), world.code(50)] == [0, Code.LEASE_WANTED], "a grant ends a denial"
    world.arena.deny(world.key, TPM, 1, now + 10**9)
    world.put(Kind.KEY, rpm=60, tpm=2000)
    assert world.code(50) == Code.LEASE_WANTED, "a new policy too"


@pytest.mark.parametrize(
    ("fields", "code"), [({"rpm": 0}, 11), ({"tpm": 0}, 12), ({"tpm": 9}, 12), ({"cap": 0}, 13)]
)
def test_what_can_never_fit_needs_no_bank(fields: dict[str, int], code: int) -> None:
    world = World(**fields)
    refusal = world.admit(10)
    assert (refusal.code, refusal.retry_after_us, world.arena.take_demand()) == (code, None, [])


def test_refunds_and_debts_go_through_the_bank() -> None:
    world = World(tpm=1000)
    world.arena.grant(world.key, TPM, 100, FOREVER)
    first = world.admit(60)
    second = world.admit(40)
    world.settle(first, 20)
    world.settle(second, 55)
    lease = world.arena.lease(world.key, TPM)
    assert (lease.claimed, lease.returned, lease.granted) == (115, 40, 100)
    assert world.code(10) == Code.LEASE_WANTED
    world.arena.grant(world.key, TPM, 125, FOREVER)
    assert [world.code(10), world.code(1)] == [0, Code.LEASE_WANTED]


def test_a_budget_is_spent_as_far_as_it_is_granted_for_its_window() -> None:
    world = World(cap=NANO)
    world.put(Kind.USER, cap=NANO)
    day = world.arena.lease(world.key, MONEY).first_day
    world.arena.grant(world.key, MONEY, 25_000, 0, day)
    world.arena.grant(world.user, MONEY, NANO, 0, day - 31)
    assert world.code() == Code.LEASE_WANTED
    assert world.arena.take_demand() == [(world.user, MONEY, 10_000)], (
        "granted for the month before"
    )
    world.arena.grant(world.user, MONEY, 2 * NANO, 0, day)
    ticket = world.admit()
    assert [world.code(), world.code()] == [0, Code.LEASE_WANTED]
    world.settle(ticket, 5)
    lease = world.arena.lease(world.key, MONEY)
    assert (lease.claimed, lease.granted, lease.limit) == (15_000, 25_000, NANO)
    assert world.code() == 0, "what was not used may be used again: it is the same grant"
    assert world.arena.withdraw(world.key, MONEY, NANO) == 0
    assert world.arena.withdraw(world.user, MONEY, NANO) == NANO
    world.arena.deny(world.key, MONEY, 201, FOREVER >> 20)
    refusal = world.admit()
    assert (refusal.code, refusal.limit, refusal.used) == (Code.BUDGET_EXCEEDED, NANO, NANO - 200)


def test_a_recount_is_of_this_host_alone() -> None:
    world = World(cap=NANO)
    day = world.arena.lease(world.key, MONEY).first_day
    world.arena.grant(world.key, MONEY, 50_000, 0, day)
    assert world.code() == 0
    assert world.arena.recount(world.key, day, 30_000, [world.journal])
    assert world.arena.lease(world.key, MONEY).claimed == 40_000
    assert [world.code(), world.code()] == [0, Code.LEASE_WANTED]


def test_headers_promise_no_more_than_host_and_centre() -> None:
    world = World(rpm=60)
    world.arena.grant(world.key, RPM, 5, world.gate.now_us() + 10, centre=7)
    assert world.code() == 0
    headers = dict(world.gate.rate_headers(world.key))
    assert headers["x-ratelimit-remaining-requests"] == "11"
    assert headers["x-ratelimit-reset-requests"] == "49s"
    assert world.arena.meters(world.key).remaining[RPM] == 11
    world.clock.advance(10)
    assert dict(world.gate.rate_headers(world.key))["x-ratelimit-remaining-requests"] == "0"
    world.arena.grant(world.key, RPM, 5, FOREVER, centre=1000)
    assert dict(world.gate.rate_headers(world.key))["x-ratelimit-remaining-requests"] == "60"


def test_a_host_without_its_lease_admits_and_knows_nobody() -> None:
    world = World()
    bearer = f"Bearer {SECRET}"
    assert world.gate.identify(bearer, "", 0) == world.key
    world.arena.admit_until_us = world.gate.now_us() + 5
    assert (world.code(), world.arena.fenced) == (0, False)
    world.clock.advance(5)
    assert (world.code(), world.arena.fenced) == (Code.NOT_READY, True)
    assert world.gate.identify(bearer, "", 0) == -Code.NOT_READY
    assert world.gate.identify("Bearer sk-nemo-" + "z" * 20, "", 0) == -Code.NOT_READY
    world.arena.admit_until_us = world.gate.now_us() + 5
    assert world.code() == 0


def test_an_arena_begins_to_share_before_it_has_scopes() -> None:
    arena = _core.Arena.private(4)
    arena.clustered = True
    assert (arena.admit_until_us, arena.fenced) == (1, True), "closed until it is told how long"
    arena.put(Policy(kind=Kind.ORG, id=1, version=1))
    with pytest.raises(ValueError, match="scopes"):
        arena.clustered = False
    alone = _core.Arena.private(4)
    alone.admit_until_us = 1
    assert not alone.fenced
    with pytest.raises(ValueError, match="resource"):
        arena.lease(0, len(RATES))
