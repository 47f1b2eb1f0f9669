"""The bank of money: whatever hosts do at once, what they may commit never exceeds the cap."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemorouter.cluster.budgets.bank import (
    Books,
    BudgetReply,
    BudgetRequest,
    decide,
    forget,
    pressed,
    settle,
)
from nemorouter.settings import Settings
from nemorouter.store.engine import Store
from nemorouter.store.ledger import open_windows, record, window_spend
from nemorouter.store.sums import DAY_MS, window_days
from nemorouter.types import Duration, Kind
from tests.support.rows import a_row
from tests.support.world import KEY, ORG, TEAM, USER, World

DAY = 20_700
CAP = 1_000_000
_seqs = count(1)


@pytest.fixture
def store_kind() -> str:
    """Several hosts share a store in PostgreSQL only."""
    return "postgresql"


@pytest.fixture
async def world(any_store: str, tmp_path: Path) -> AsyncIterator[World]:
    made = await World.make(tmp_path / "first")
    await made.key(cap=CAP, duration=Duration.DAILY)
    yield made
    await made.close()


@dataclass
class Host:
    """What one host holds, as its arena would.

    It commits within ``held``, and forgets nothing but on purpose.
    """

    store: Store
    held: int = 0
    committed: int = 0
    posted: int = 0
    overrun: int = 0
    day: int = DAY

    async def settle(self, need: int = 0, like: int = 0, *, lost: bool = False) -> BudgetReply:
        (answer,) = await settle(
            self.store,
            [BudgetRequest(Kind.KEY, KEY, self.day, self.committed, self.held, need, like)],
        )
        if answer.granted is not None and not lost:
            self.held = max(self.held, answer.granted)
        return answer

    def spend(self, nano: int) -> bool:
        """Admit a request if it fits; return whether it did."""
        if self.committed + nano > self.held:
            return False
        self.committed += nano
        return True

    def withdraw(self) -> None:
        """All that is unspent; the bank hears of it at the next visit."""
        self.held = min(self.held, max(self.committed, 0))

    async def drain(self, nano: int) -> None:
        """Bring what was committed into the ledger."""
        seq = next(_seqs)
        row = a_row(seq, journal_id=self.store.host, at=self.day * DAY_MS + 5, cost=nano)
        await record(self.store, [row])
        self.posted += nano


@pytest.fixture
async def hosts(world: World, tmp_path: Path) -> AsyncIterator[list[Host]]:
    """Four of them, each with a data directory and connections of its own."""
    settings = [Settings.load(data_dir=tmp_path / f"host{number}") for number in range(4)]
    stores = [await Store.open(one, migrate=True) for one in settings]
    yield [Host(store) for store in stores]
    for store in stores:
        await store.close()


@given(
    cap=st.integers(0, 100),
    others=st.integers(0, 120),
    mine=st.integers(0, 100),
    hosts=st.integers(0, 5),
    committed=st.integers(0, 100),
    held=st.integers(0, 100),
    need=st.integers(0, 50),
    like=st.integers(0, 50),
)
def test_a_grant_fits_and_is_never_lowered(**drawn: int) -> None:
    ask = BudgetRequest(
        Kind.KEY, KEY, DAY, drawn["committed"], drawn["held"], drawn["need"], drawn["like"]
    )
    books = Books(drawn["cap"], drawn["others"], drawn["mine"], drawn["hosts"])
    answer = decide(ask, books)
    assert answer.granted is not None
    base = max(ask.held, ask.committed, books.mine)
    assert answer.granted >= base
    if answer.granted > base:
        assert answer.granted + books.others <= books.cap
        assert answer.left == books.cap - books.others - answer.granted
    assert answer.excess == max(0, base + books.others - books.cap)
    assert answer.short == (answer.granted < ask.committed + ask.need)


async def test_what_one_has_the_others_have_not(hosts: list[Host]) -> None:
    one, two, *_ = hosts
    assert await one.settle(need=400_000) == BudgetReply(400_000, 600_000)
    assert await two.settle(need=700_000) == BudgetReply(
        0, 600_000, 0, short=True
    )  # crumbs serve nobody
    assert await pressed(one.store) == [(Kind.KEY, KEY, DAY)]
    assert await pressed(two.store) == []
    one.spend(100_000)
    one.withdraw()
    assert await one.settle() == BudgetReply(100_000, 900_000)
    assert await two.settle(need=700_000) == BudgetReply(700_000, 200_000)
    assert await pressed(one.store) == []


async def test_the_last_money_is_lent_in_small_pieces(hosts: list[Host]) -> None:
    one, two, *_ = hosts
    assert await one.settle(need=10, like=CAP) == BudgetReply(
        10 + (CAP - 10) // 4, CAP - 10 - (CAP - 10) // 4
    )
    answer = await two.settle(need=10, like=CAP)
    assert answer.granted is not None
    assert answer.granted < CAP // 8 + 10


async def test_a_lost_answer_costs_nothing(hosts: list[Host]) -> None:
    one, two, *_ = hosts
    for _ in range(3):
        await one.settle(need=600_000, lost=True)
    assert (await one.settle(need=600_000)).granted == 600_000
    assert (await two.settle(need=500_000)).granted == 0
    assert (await two.settle(need=400_000)).granted == 400_000


async def test_an_overrun_is_counted_before_and_after_it_is_in_the_ledger(
    hosts: list[Host],
) -> None:
    one, two, *_ = hosts
    await one.settle(need=500_000)
    one.committed = 1_200_000
    await one.drain(1_200_000)  # a host that did not come to say so
    assert await two.settle(need=1) == BudgetReply(0, 0, 200_000, short=True)
    assert (await one.settle()).granted == 1_200_000


async def test_a_lowered_cap_asks_back_and_a_raised_one_gives(
    world: World, hosts: list[Host]
) -> None:
    one, two, *_ = hosts
    await one.settle(need=600_000)
    one.spend(100_000)
    await world.scope(Kind.KEY, KEY, cap=300_000, duration=Duration.DAILY)
    assert await one.settle() == BudgetReply(600_000, 0, 300_000)
    one.withdraw()
    assert await one.settle() == BudgetReply(100_000, 200_000)
    await world.scope(Kind.KEY, KEY, cap=2_000_000, duration=Duration.DAILY)
    assert (await two.settle(need=1_900_000)).granted == 1_900_000


async def test_a_longer_window_counts_what_was_spent_in_the_old_one(
    world: World, hosts: list[Host]
) -> None:
    """Grants of the old window are void; a request in flight counts when its host reports it."""
    one, two, *_ = hosts
    await one.settle(need=600_000)
    one.spend(100_000)
    await one.drain(100_000)
    one.spend(30_000)  # on its way, when the duration is changed
    await world.scope(Kind.KEY, KEY, cap=CAP, duration=Duration.MONTHLY)
    assert (await one.settle()).granted is None
    for host in hosts:
        host.day = window_days(Duration.MONTHLY, DAY)[0]
        host.held = 0  # as the arena's word turns
    assert (await two.settle(need=900_001)).short
    assert (await two.settle(need=900_000)).granted == 900_000
    two.spend(900_000)
    assert await one.settle(need=1) == BudgetReply(130_000, 0, 30_000, short=True)


async def test_windows_have_nothing_to_do_with_each_other(hosts: list[Host]) -> None:
    one, two, *_ = hosts
    await one.settle(need=CAP)
    two.day = DAY + 1
    assert (await two.settle(need=CAP)).granted == CAP


async def test_what_is_no_budget_or_no_window_of_it_is_not_granted(
    world: World, hosts: list[Host]
) -> None:
    (one, *_) = hosts
    await world.scope(Kind.TEAM, TEAM, cap=5, duration=Duration.WEEKLY)
    asks = [
        BudgetRequest(Kind.TEAM, TEAM, DAY, 0, 0, 1),
        BudgetRequest(Kind.ORG, ORG, DAY, 0, 0, 1),
        BudgetRequest(Kind.KEY, KEY, DAY, 0, 0, 1),
    ]
    assert DAY % 7 != 4  # no Monday
    assert [answer.granted for answer in await settle(one.store, asks)] == [None, None, 1]


async def test_a_dead_hosts_grant_is_withheld_until_it_returns_or_is_forgotten(
    hosts: list[Host],
) -> None:
    one, two, *_ = hosts
    await one.settle(need=900_000)
    one.spend(50_000)
    await one.drain(50_000)
    assert (await two.settle(need=100_000)).granted == 100_000
    reborn = Host(
        one.store, committed=50_000
    )  # an arena made anew: it allows nothing, and was recounted
    assert (await reborn.settle()).granted == 50_000
    assert (await two.settle(need=200_000)).granted == 200_000
    await reborn.settle(need=700_000)
    assert await forget(two.store, one.store.host) == 1
    assert (await two.settle(need=950_000)).granted == 950_000


async def test_a_host_counts_its_own_rows(hosts: list[Host]) -> None:
    one, two, *_ = hosts
    await one.drain(30)
    await one.drain(12)
    await two.drain(5)
    async with one.store.read() as connection:
        for kind, id in ((Kind.KEY, KEY), (Kind.TEAM, TEAM), (Kind.USER, USER), (Kind.ORG, ORG)):
            assert await window_spend(connection, kind, id, DAY, DAY + 1) == 47
            assert await window_spend(connection, kind, id, DAY, DAY + 1, one.store.host) == 42
            assert await window_spend(connection, kind, id, DAY + 1, 1 << 31, one.store.host) == 0
        found = [
            entry
            async for lot in open_windows(connection, DAY * DAY_MS, two.store.host)
            for entry in lot
        ]
    assert {(kind, id): spent for kind, id, _, spent in found} == {
        (Kind.KEY, KEY): 5,
        (Kind.TEAM, TEAM): 5,
        (Kind.USER, USER): 5,
        (Kind.ORG, ORG): 5,
    }
    assert [len(digest) for kind, _, digest, _ in found if kind == Kind.KEY] == [32]


async def _live(host: Host, random: random.Random, steps: int, within: Any) -> None:
    """Live as a host: lost replies, returns, reboots, and rows that reach the ledger late."""
    for _ in range(steps):
        match random.choice(("ask", "ask", "ask", "lose", "return", "drain", "reboot", "refund")):
            case "ask":
                await host.settle(need=random.randrange(60_000), like=random.randrange(60_000))
            case "lose":
                await host.settle(need=random.randrange(60_000), lost=True)
            case "return":
                host.withdraw()
                await host.settle()
            case "drain":
                await host.drain(host.committed - host.posted)
            case "reboot":
                host.held = 0
            case "refund":
                host.committed -= (host.committed - host.posted) // 2
        for _ in range(random.randrange(8)):
            host.spend(random.randrange(20_000))
        within()


@pytest.mark.parametrize("seed", range(6))
async def test_no_history_exceeds_the_cap(seed: int, world: World, hosts: list[Host]) -> None:
    """Hosts at work at once, on real connections; at every step what all have committed fits."""

    def within() -> None:
        assert sum(max(host.committed, host.held) for host in hosts) <= CAP, seed

    lives = [
        _live(host, random.Random(f"{seed} {number}"), 40, within)
        for number, host in enumerate(hosts)
    ]
    await asyncio.gather(*lives)
    assert sum(host.committed for host in hosts) > CAP // 2
    for host in hosts:
        await host.drain(host.committed - host.posted)
        host.withdraw()
        await host.settle()
    assert await world.one("SELECT sum(granted_nano) FROM money_leases") == (
        sum(host.committed for host in hosts),
    )
    assert await world.one("SELECT sum(cost_nano) FROM spend_daily") == (
        sum(host.committed for host in hosts),
    )
