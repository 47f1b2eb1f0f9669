"""Test rules of the bank that random histories seldom need, on the model that equals the Lua."""

from typing import Any

import pytest

from nemorouter.cluster.rates.messages import RateReply, RateRequest
from tests.support.leases.bank import Bank

TTL = 2_000_000
SECOND = 1_000_000
START = 1_000_000_000_000


class Desk:
    """A bank with one bucket of 100 tokens that fills in a second."""

    def __init__(self) -> None:
        self.bank = Bank(TTL)
        self.now = START
        self.bank.epoch = START - 100 * SECOND
        self.sequence = 0
        self.limit = 6_000
        self.burst = 100
        self.version = 1

    def ask(self, nonce: int, want: int = 0, full_in: int = 0, **fields: Any) -> RateReply:
        self.sequence += 1
        values = {
            "bye": False,
            "place": 0,
            "spent": 0,
            "refunded": 0,
            "refunded_at": 0,
            "epoch": self.bank.epoch or 0,
            **fields,
        }
        return self.bank.sync(
            1,
            RateRequest(
                nonce=nonce,
                sequence=self.sequence,
                need=want,
                demand=want,
                target=want,
                limit=self.limit,
                period=60 * SECOND,
                burst=self.burst,
                version=self.version,
                **values,
            ),
            self.now,
            full_in,
        )

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


def test_what_may_still_be_spent_counts_though_its_holder_takes_leave(desk: Desk) -> None:
    desk.ask(1, 40)
    desk.ask(1, place=40, spent=10, bye=True)
    assert desk.bank.buckets[1].outstanding == 30
    desk.ask(1, place=10, spent=10, bye=True)
    assert (desk.bank.buckets[1].outstanding, desk.bank.buckets[1].living) == (0, 0)


def test_a_new_limit_counts_from_now_and_an_old_one_no_more(desk: Desk) -> None:
    desk.ask(1, 40)
    desk.limit = 2_400
    desk.burst = 50
    desk.version = 2
    desk.ask(1, place=40, spent=40)
    assert desk.left == 60 - 50
    desk.limit = 6_000
    desk.burst = 100
    desk.version = 1
    desk.now += SECOND
    desk.ask(2)
    assert desk.left == 50, "forty of a burst of fifty came, and there was room for all"


def test_the_debt_for_forgotten_grants_ends_at_a_burst(desk: Desk) -> None:
    desk.ask(1, place=5_000, spent=5_000)
    assert desk.left == -100


def test_after_a_loss_nobody_pays_again_for_what_it_was_granted_before(desk: Desk) -> None:
    desk.bank.flush()
    desk.ask(2)
    desk.now += TTL + 5 * SECOND
    desk.ask(1, place=50, spent=50, epoch=START - 100 * SECOND)
    assert desk.left == 100


def test_a_bucket_of_which_nothing_can_be_lost_begins_full(desk: Desk) -> None:
    desk.bank.flush()
    assert desk.ask(1, 60, full_in=desk.now).place == 60
    assert desk.ask(2, 60, full_in=desk.now).place == 0, "and only once"
    desk.bank.flush()
    desk.now += SECOND
    assert desk.ask(3, 60, full_in=desk.now - SECOND).place == 0, "the epoch before this one"


def test_what_was_spent_of_a_bucket_that_begins_full_is_owed(desk: Desk) -> None:
    desk.bank.flush()
    desk.ask(1, full_in=desk.now)
    desk.ask(2, place=50, spent=50, epoch=START - 100 * SECOND, full_in=desk.now)
    assert desk.left == 50


def test_a_refund_while_the_bank_was_learning_is_lost(desk: Desk) -> None:
    desk.bank.flush()
    desk.ask(1)
    desk.now += SECOND // 10
    desk.ask(1, refunded=50, refunded_at=desk.now - SECOND // 20, epoch=START)
    assert desk.left == 0


@pytest.fixture
def slow(desk: Desk) -> Desk:
    """One token a second, so that room lasts; both holders have been there."""
    desk.limit = 60
    desk.bank.epoch = START - 1_000 * SECOND
    desk.ask(1)
    desk.ask(2)
    return desk


def test_a_refund_into_a_bucket_that_was_full_the_slot_before_is_lost(slow: Desk) -> None:
    settled_at = slow.now + SECOND // 10
    slow.now += SECOND // 5
    slow.ask(2, 50)
    slow.now += SECOND
    slow.ask(2, place=50, spent=50)
    slow.now += SECOND // 10
    slow.ask(1, refunded=30, refunded_at=settled_at)
    assert slow.left == 50


def test_a_refund_from_before_a_silence_is_lost(slow: Desk) -> None:
    settled_at = slow.now + SECOND // 10
    slow.now += SECOND // 2
    slow.ask(2, 50)
    slow.ask(2, place=50, spent=50)
    slow.now += 5 * SECOND
    slow.ask(1, refunded=30, refunded_at=settled_at)
    assert slow.left == 55


@pytest.mark.parametrize("later", [SECOND // 10, SECOND], ids=["same-slot", "next-slot"])
def test_two_refunds_cannot_use_the_same_room(slow: Desk, later: int) -> None:
    slow.ask(2, 20)
    slow.ask(2, place=20, spent=20)
    slow.now += SECOND + SECOND // 10
    slow.ask(2, place=20, spent=20)
    room = 100 - slow.left
    settled_at = slow.now + SECOND // 20
    slow.now += SECOND // 10
    slow.ask(3, 60)
    slow.ask(3, place=60, spent=60)
    slow.now += later
    slow.ask(2, place=20, spent=20)
    before = slow.left
    slow.ask(1, refunded=room, refunded_at=settled_at)
    assert slow.left == before + room
    slow.ask(1, refunded=2 * room, refunded_at=settled_at)
    assert slow.left == before + room


def test_what_was_refunded_before_the_first_word_is_lost(slow: Desk) -> None:
    slow.ask(1, 100)
    slow.ask(1, place=100, spent=100)
    slow.now += SECOND + SECOND // 10
    slow.ask(2)
    before = slow.left
    slow.ask(3, refunded=50, refunded_at=slow.now)
    assert slow.left == before == 1
