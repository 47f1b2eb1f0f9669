"""The rules of the bank that random histories seldom need, one by one, on the model that equals the Lua."""

from typing import Any

import pytest

from nemorouter.cluster.ledger import Ask, Reply
from tests.cluster.model import Bank

TTL, SECOND = 2_000_000, 1_000_000
START = 1_000_000_000_000


class Desk:
    """A bank with one bucket of 100 tokens that fills in a second."""

    def __init__(self) -> None:
        self.bank, self.now = Bank(TTL), START
        self.bank.epoch = START - 100 * SECOND
        self.sequence = 0

    def ask(self, nonce: int, want: int = 0, **fields: Any) -> Reply:
        self.sequence += 1
        values = {"place": 0, "spent": 0, "refunded": 0, "refunded_at": 0, "epoch": self.bank.epoch or 0, **fields}
        return self.bank.sync(
            1,
            Ask(
                nonce=nonce, sequence=self.sequence, need=want, demand=want, want=want, bye=False, limit=6_000,
                burst=100, version=1, **values,
            ),
            self.now,
        )  # fmt: skip

    @property
    def left(self) -> int:
        return self.bank.buckets[1].balance


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_what_a_dead_holder_did_not_spend_is_void(desk: Desk) -> None:
    assert desk.ask(1, 40).place == 40
    desk.now += 5 * SECOND
    desk.ask(2)  # finds it dead
    desk.now += SECOND
    assert desk.ask(2, 100).place == 100  # refilled meanwhile
    desk.ask(2, place=100, spent=100)
    desk.ask(1)  # gave up all 40 unspent
    assert desk.left == 0


def test_a_dead_holder_that_thinks_it_lives_is_told(desk: Desk) -> None:
    desk.ask(1, 40)
    desk.now += 5 * SECOND
    desk.ask(2)  # finds it dead
    desk.now += SECOND
    reply = desk.ask(1, place=40)
    assert (reply.void, reply.balance) == (True, 100)


def test_a_living_holder_gives_back_what_never_reached_it(desk: Desk) -> None:
    desk.ask(1, 40)
    assert desk.ask(1, 30).place == 30
    assert desk.left == 70


def test_a_refund_into_a_full_bucket_is_lost(desk: Desk) -> None:
    desk.ask(1, 50)
    desk.ask(1, place=50, spent=50)
    desk.now += SECOND
    full_at = desk.now
    desk.ask(2, 100)
    desk.ask(2, place=100, spent=100)
    desk.now += SECOND // 10
    desk.ask(1, place=50, spent=50, refunded=50, refunded_at=full_at)
    assert desk.left == 10


def test_a_refund_from_before_the_memory_of_the_bank_is_lost(desk: Desk) -> None:
    desk.ask(1, 100)
    desk.ask(1, place=100, spent=100)
    desk.now += SECOND // 10
    desk.ask(1, place=100, spent=100, refunded=50, refunded_at=START - 90 * SECOND)
    assert desk.left == 10


def test_a_refund_counts_where_there_was_room(desk: Desk) -> None:
    desk.ask(1, 100)
    desk.ask(1, place=100, spent=400)  # an overrun
    desk.now += SECOND + SECOND // 10
    desk.ask(2)
    settled_at = desk.now
    desk.now += SECOND // 10
    desk.ask(1, place=400, spent=400, refunded=50, refunded_at=settled_at)
    assert desk.left == -300 + 120 + 50


def test_after_a_loss_nothing_is_lent_before_the_last_old_lease_has_run_out(desk: Desk) -> None:
    desk.ask(1, 100)
    desk.bank.flush()
    assert desk.ask(2, 1).place == 0
    desk.now += TTL
    assert desk.ask(2, 1).place == 0
    desk.now += SECOND // 2
    assert desk.ask(2, 50).place == 50


def test_a_grant_that_a_replica_forgot_becomes_debt(desk: Desk) -> None:
    desk.ask(1)
    replica = desk.bank.copy()
    desk.ask(1, 100)
    desk.bank = replica
    assert desk.ask(2, 100).place == 100
    desk.ask(1, place=100, spent=100)
    assert desk.left == -100
