"""Test what a host reports of one lease, and how it applies the replies, step by step."""

from typing import Any

import pytest

from nemorouter.cluster.clock import BankClock
from nemorouter.cluster.rates.holder import Holder
from nemorouter.cluster.rates.messages import RateReply, RateRequest
from nemorouter.cluster.rates.terms import Terms
from tests.support.leases.words import Words

SECOND = 1_000_000
TERMS = Terms()
THEIRS = 1 << 50  # the bank's clock when ours shows START
START = 1_000 * SECOND


class Desk:
    """One holder of RPM; the test plays the bank."""

    def __init__(self) -> None:
        self.now = START
        self.clock = BankClock()
        self.clock.observe(THEIRS, START)
        self.words = Words(6_000, 100, lambda: self.now)
        self.holder = Holder(self.words, 0, 0, TERMS, 1, self.now)

    def ask(self, want: int = 0) -> RateRequest:
        if want:
            self.holder.demand(want)
        ask = self.holder.ask(self.now, self.clock, 2)
        assert ask is not None
        return ask

    def receive(self, ask: RateRequest, place: int, **fields: Any) -> None:
        values = {
            "epoch": 7,
            "balance": 50,
            "wait": 0,
            "pressed": False,
            "chunk": 5,
            "others": 0,
            **fields,
        }
        self.holder.receive(RateReply(sequence=ask.sequence, place=place, **values), self.now)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def ten(desk: Desk) -> Desk:
    """Ten were granted."""
    desk.receive(desk.ask(10), 10)
    return desk


def test_a_lease_ends_here_before_it_ends_there(desk: Desk) -> None:
    ask = desk.ask(10)
    desk.now += SECOND  # the answer took that long
    desk.receive(ask, 10)
    assert desk.words.unspent == 10
    slowest = (desk.words.until_us - START) * 1_001 // 1_000  # by a clock that is faster than ours
    assert slowest < TERMS.ttl
    assert desk.words.until_us > START + TERMS.ttl * 99 // 100


def test_who_takes_over_spends_nothing_that_it_did_not_ask_for(ten: Desk) -> None:
    Holder(ten.words, 0, 0, TERMS, 3, ten.now)
    assert ten.words.unspent == 0


def test_one_question_at_a_time(desk: Desk) -> None:
    desk.ask(10)
    desk.holder.demand(10)
    assert desk.holder.ask(desk.now, desk.clock, 2) is None


def test_after_a_long_silence_it_is_somebody_else(ten: Desk) -> None:
    ten.words.claim(4)
    ten.now += 241 * SECOND
    ask = ten.ask(1)
    assert (ask.nonce, ask.sequence, ask.epoch, ask.place, ask.spent) == (2, 1, 0, 0, 0)


def test_it_says_since_when_the_bank_remembers(ten: Desk) -> None:
    assert ten.ask(20).epoch == 7


def test_what_the_bank_calls_void_is_not_spent(ten: Desk) -> None:
    ask = ten.ask(20)
    ten.receive(ask, 15, void=True)
    assert ten.words.unspent == 5


def test_who_lost_all_has_nothing_to_keep_alive(ten: Desk) -> None:
    ten.receive(ten.ask(20), 10, void=True)
    ten.now += TERMS.ttl // 2 + 1
    assert ten.holder.ask(ten.now, ten.clock, 2) is None


def test_what_ran_out_is_not_told_as_held(ten: Desk) -> None:
    """A bank that lost its memory would believe it."""
    ten.words.claim(4)
    ten.now += TERMS.ttl
    ask = ten.ask(1)
    assert (ask.place, ten.words.unspent) == (4, 0)


def test_what_lies_idle_is_given_back_and_is_no_refund(ten: Desk) -> None:
    ten.words.claim(4)
    ten.now += SECOND // 10
    ten.holder.ask(ten.now, ten.clock, 2)
    ten.now += TERMS.idle
    ask = ten.ask()
    assert (ask.place, ask.spent, ask.refunded, ten.words.unspent) == (4, 4, 0, 0)


def test_a_claim_is_told_when_it_can_be_no_refusal_any_more(ten: Desk) -> None:
    ten.now += SECOND
    ten.words.claim(10)
    ask = ten.ask(1)
    assert (ask.place, ask.spent) == (10, 0)
    ten.receive(ask, 11)
    ten.now += SECOND // 10
    assert ten.ask(5).spent == 10


def test_a_refund_is_dated_no_later_than_it_was(ten: Desk) -> None:
    ten.words.claim(10)
    ten.now += SECOND // 10
    ten.holder.ask(ten.now, ten.clock, 2)
    ten.now += 1_000
    ten.words.returned += 3
    refunded_at = THEIRS + ten.now - START
    ten.now += SECOND
    ask = ten.ask()
    assert ask.refunded == 3
    assert refunded_at - SECOND // 5 < ask.refunded_at <= refunded_at


def test_a_refund_between_two_looks_is_told_with_the_next_question(
    ten: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Words.lease

    def lease(self: Words, index: int, resource: int) -> Words:
        """Return a look that a refund follows at once."""
        seen = Words(**vars(plain(self, index, resource)))
        self.returned += 1
        return seen

    monkeypatch.setattr(Words, "lease", lease)
    ten.words.claim(10)
    assert ten.ask(1).refunded == 0


def test_the_clock_of_the_bank_is_not_believed_to_be_ahead(desk: Desk) -> None:
    assert desk.clock.at_least(START + 10 * SECOND) < THEIRS + 10 * SECOND * 999 // 1_000
    assert BankClock().at_least(START) == 0


def test_who_takes_leave_gets_no_lease(ten: Desk) -> None:
    until = ten.words.until_us
    ten.now += SECOND
    ask = ten.holder.resign(ten.now, ten.clock)
    assert ask is not None
    assert (ask.bye, ask.place) == (True, 0)
    ten.receive(ask, 0)
    assert (ten.words.unspent, ten.words.until_us) == (0, until)


def test_what_was_spent_without_the_bank_is_owed_and_lent_to_nobody(desk: Desk) -> None:
    desk.holder = Holder(desk.words, 0, 0, TERMS, 5, desk.now, owed=30, epoch=7)
    ask = desk.ask()
    assert (ask.epoch, ask.place, ask.spent) == (7, 30, 30)
    desk.receive(ask, 34)
    assert desk.words.unspent == 4
    assert desk.holder.ask(desk.now, desk.clock, 2) is None, "it is said once"
