"""Hold the host's side of one rate lease: report to the bank, and apply its replies.

A deterministic state machine without clock or network. Time is a parameter: the host's boot clock
in microseconds. The arena may never spend what the bank may have granted to another host, so
``granted`` rises only by a reply to the newest report, until a moment counted from before that
report was sent.
"""

from typing import Final, Protocol

import msgspec

from nemorouter.cluster.clock import DRIFT, BankClock
from nemorouter.cluster.rates.messages import RateReply, RateRequest
from nemorouter.types import RATES

NEVER: Final = 1 << 62
_FORGET_US: Final = 240_000_000  # the bank remembers a dead holder for five minutes
_KEEP_ALIVE_US: Final = 120_000_000
_REST_US: Final = 1_000_000  # how often a quiet lease is looked at
_QUIET_US: Final = 2_000_000
_KEEP_US: Final = {
    "requests": 10_000_000,
    "tokens": 600_000_000,  # they may come back from a long stream
}
# The age of the claims that are reported: what a refusal takes for an instant is no longer in them.
_STALE_US: Final = 1_000
_HORIZON: Final = 3  # ticks of use that are asked for ahead
_AGAIN_US: Final = 1_500_000  # look again after a refusal, when others may give back
_LONGEST_US: Final = 60_000_000


class Terms(msgspec.Struct, frozen=True):
    """The times that all rate leases of an installation share, in microseconds."""

    ttl: int = 2_000_000
    tick: int = 100_000
    idle: int = 1_000_000

    @property
    def margin(self) -> int:
        """Return how much earlier than the bank the host ends a lease, in microseconds."""
        return self.ttl // DRIFT + 2_000


class LeaseView(Protocol):
    """A lease in the arena at one instant: whole tokens since the arena was made."""

    @property
    def claimed(self) -> int: ...
    @property
    def returned(self) -> int: ...
    @property
    def granted(self) -> int: ...
    @property
    def until_us(self) -> int: ...
    @property
    def limit(self) -> int | None: ...
    @property
    def burst(self) -> int | None: ...
    @property
    def version(self) -> int: ...


class Words(Protocol):
    """The operations of a lease word in the arena (``_core.Arena``)."""

    def lease(self, index: int, resource: int, /) -> LeaseView: ...
    def grant(
        self,
        index: int,
        resource: int,
        granted: int,
        until_us: int,
        first_day: int = 0,
        centre: int = 0,
    ) -> None: ...
    def withdraw(self, index: int, resource: int, most: int) -> int: ...
    def void(self, index: int, resource: int) -> int: ...
    def deny(
        self, index: int, resource: int, need: int, until_us: int, fits_us: int = 0
    ) -> None: ...


class Holder:
    """The host's side of one rate lease.

    Call ``ask`` when there may be something to report, then ``heard`` or ``lost``, once.
    """

    def __init__(
        self,
        words: Words,
        index: int,
        rate: int,
        terms: Terms,
        nonce: int,
        now: int,
        owed: int = 0,
        epoch: int = 0,
    ) -> None:
        """Begin without a grant. ``rate`` is the place of the limit in types.RATES.

        ``owed`` was spent without the bank, whose memory then began at ``epoch``.
        """
        self.index, self.rate = index, rate
        self._words, self._terms, self._nonce = words, terms, nonce
        self._epoch, self._sequence = epoch, 0
        self._sent: RateRequest | None = None
        self._sent_at = self._contact = self._moved_at = now
        self._needs: list[int] = []
        self._low = self._pressed = self._bye = False
        self._hold_until = self._hold_need = self._fits_at = self._version = self._chunk = 0
        self._pace = 0.0  # tokens a microsecond
        self._given = 0
        self._open(now, owed)

    def _open(self, now: int, owed: int = 0) -> None:
        """Begin a new nonce, from zero: nothing of an older grant may be spent any more."""
        self._words.void(self.index, self.rate)
        look = self._words.lease(self.index, self.rate)
        self._zero, self._owes = look.granted - owed, owed > 0
        self._refunds_before = look.returned
        self._told_place = self._told_spent = self._told_refunds = 0
        self._refund_since: int | None = None
        self._seen_refunds = 0
        self._looks = ((now, look.claimed), (now, look.claimed))
        self._contact = now

    @property
    def asked(self) -> RateRequest | None:
        """Return the report that has no reply yet."""
        return self._sent

    @property
    def finished(self) -> bool:
        """Return whether the bank knows all, nothing is left, and nothing happened for long."""
        return self._bye and self._sent is None

    def next_look(self, now: int) -> int:
        """Return when ``ask`` should be called again if no demand comes before."""
        busy = (
            self._needs or self._told_place > self._told_spent or now - self._moved_at < _QUIET_US
        )
        return now + (self._terms.tick if busy else _REST_US)

    def want(self, need: int) -> None:
        """Note that a request of ``need`` tokens did not fit; 0: the lease is nearly used up."""
        if need:
            self._needs.append(need)
        else:
            self._low = True

    def ask(self, now: int, clock: BankClock, fresh_nonce: int) -> RateRequest | None:
        """Return the next report to the bank; None if there is none, or a reply is outstanding."""
        if self._sent is not None:
            return None
        if now - self._contact > _FORGET_US:
            self._nonce, self._epoch, self._sequence = fresh_nonce, 0, 0
            self._open(now)
        look = self._observe(now)
        self._give_up(look, now)
        look = self._words.lease(self.index, self.rate)
        need, demand, want = self._wanted(look, now)
        if not (need or want or self._news(look, now)):
            return None
        self._sequence += 1
        self._sent, self._sent_at = self._message(look, need, demand, want, now, clock), now
        return self._sent

    def _observe(self, now: int) -> LeaseView:
        """Read the lease word; update the pace of use and the age of unreported refunds."""
        look = self._words.lease(self.index, self.rate)
        then, claimed = self._looks[1]
        refunds = look.returned - self._refunds_before
        if refunds > self._seen_refunds:
            self._refund_since = then if self._refund_since is None else self._refund_since
            self._seen_refunds, self._moved_at = refunds, now
        if look.claimed > claimed:
            self._moved_at = now
        if now - then >= _STALE_US:
            span = now - then
            pace = (look.claimed - claimed) / span
            weight = span / (span + _HORIZON * self._terms.tick)
            self._pace += (pace - self._pace) * weight
            self._looks = ((then, claimed), (now, look.claimed))
        return look

    def _give_up(self, look: LeaseView, now: int) -> None:
        """Take from the arena what has run out, lies idle, or is needed by other hosts."""
        left = look.granted - look.claimed
        if left <= 0:
            return
        if now >= look.until_us:
            self._took(self._words.void(self.index, self.rate), refunds=False)
        elif now - self._moved_at >= self._terms.idle or look.limit is None:
            self._took(self._words.withdraw(self.index, self.rate, left), refunds=True)
        elif self._pressed:
            spare = left - int(self._pace * 2 * self._terms.tick) - sum(self._needs)
            if spare > self._chunk // 4:
                self._took(self._words.withdraw(self.index, self.rate, spare), refunds=True)
        self._pressed = False

    def _took(self, tokens: int, *, refunds: bool) -> None:
        """Count tokens that were claimed for the bank as given back, not as spent or refunded."""
        self._zero += tokens
        self._refunds_before += tokens if refunds else 0
        (then, before), (now, claimed) = self._looks
        self._looks = ((then, before + tokens), (now, claimed + tokens))

    def _wanted(self, look: LeaseView, now: int) -> tuple[int, int, int]:
        """Return three amounts of tokens to ask for.

        They are the least that helps a request, what requests wait for, and that with what will
        soon be used.
        """
        if look.limit is None or look.burst is None:
            self._needs.clear()
            return 0, 0, 0
        if look.version != self._version:
            self._version, self._hold_until = look.version, 0
        left = max(0, look.granted - look.claimed) if now < look.until_us else 0
        short = [need for need in self._needs if need > left]
        low, self._low = self._low, False
        if short and now < self._hold_until:
            self._words.deny(
                self.index, self.rate, self._hold_need, self._hold_until, self._fits_at
            )
            short = [need for need in short if need - left < self._hold_need]
        self._needs.clear()
        ahead = int(self._pace * _HORIZON * self._terms.tick)
        if now - self._contact < self._terms.tick:
            ahead = max(ahead, 2 * self._given)  # the last grant was used up at once
        if short:
            demand = min(sum(short), look.burst) - left
            return min(short) - left, max(demand, min(short) - left), max(demand, demand + ahead)
        if low and now >= self._hold_until and ahead > left:
            return 0, 0, ahead - left
        return 0, 0, 0

    def _news(self, look: LeaseView, now: int) -> bool:
        """Return whether there is something to report to the bank."""
        place, spent, refunds = (
            self._place(look),
            look.claimed - self._zero,
            self._seen_refunds_now(look),
        )
        if self._owes or place < self._told_place or spent > place or refunds > self._told_refunds:
            return True  # given back, in debt, refunded
        quiet = now - self._contact
        if (
            place > self._told_spent
        ):  # the bank still holds tokens for us: spent by now, or to be kept
            return quiet >= self._terms.ttl // 2
        keep = _KEEP_US[RATES[self.rate].resource]
        if now - self._moved_at >= keep and not self._bye:
            self._bye = True
            return self._told_spent > 0
        return quiet >= _KEEP_ALIVE_US and not self._bye

    def _seen_refunds_now(self, look: LeaseView) -> int:
        return min(look.returned - self._refunds_before, self._seen_refunds)

    def _place(self, look: LeaseView) -> int:
        return look.granted - self._zero

    def _message(
        self, look: LeaseView, need: int, demand: int, want: int, now: int, clock: BankClock
    ) -> RateRequest:
        since = now if self._refund_since is None else self._refund_since
        bye = self._bye and not want
        self._bye = bye
        return RateRequest(
            nonce=self._nonce,
            sequence=self._sequence,
            epoch=self._epoch,
            place=self._place(look),
            spent=min(self._looks[0][1], look.claimed) - self._zero,
            refunded=self._seen_refunds_now(look),
            refunded_at=clock.at_least(since),
            need=need,
            demand=demand,
            want=want,
            bye=bye,
            limit=look.limit or 0,
            period=RATES[self.rate].period_us,
            burst=look.burst or 0,
            version=look.version,
        )

    def resign(self, now: int, clock: BankClock) -> RateRequest | None:
        """Return the last report of an agent that ends, which gives back all that is unspent."""
        if self._sent is not None or not self._told_place:
            return None
        look = self._observe(now)
        left = look.granted - look.claimed
        if left > 0:
            self._took(self._words.withdraw(self.index, self.rate, left), refunds=True)
            look = self._words.lease(self.index, self.rate)
        self._bye = True
        self._sequence += 1
        self._sent, self._sent_at = self._message(look, 0, 0, 0, now, clock), now
        return self._sent

    def lost(self) -> None:
        """Drop the outstanding report, which got no reply.

        The next report states anew what the host holds, so it does not matter whether this one
        arrived.
        """
        self._sent, self._bye = None, False
        self._needs.clear()

    def heard(self, reply: RateReply, now: int) -> None:
        """Apply the reply to the outstanding report; ignore a reply to an older one."""
        ask = self._sent
        if ask is None or reply.sequence != ask.sequence:
            return
        self._sent = None
        self._contact, self._epoch, self._owes = now, reply.epoch, False
        self._told_place, self._told_refunds, self._refund_since = reply.place, ask.refunded, None
        self._told_spent = ask.place if reply.void else ask.spent
        if reply.void:
            self._words.void(self.index, self.rate)
        until = self._sent_at + self._terms.ttl - self._terms.margin
        if not ask.bye:
            centre = max(0, reply.balance)
            self._words.grant(self.index, self.rate, self._zero + reply.place, until, centre=centre)
        self._needs.clear()
        self._refused(ask, reply, now)
        self._pressed, self._chunk = reply.pressed and not ask.need, reply.chunk

    def _refused(self, ask: RateRequest, reply: RateReply, now: int) -> None:
        """Remember until when the bank has nothing to grant, so that it is not asked before."""
        given = self._given = reply.place - max(ask.place, ask.spent)
        pace = self._sent_at + self._terms.tick if reply.chunk > 1 else 0
        if given < ask.need:
            wait = (
                _LONGEST_US
                if reply.wait < 0
                else min(reply.wait, _AGAIN_US if reply.others else _LONGEST_US)
            )
            self._fits_at = max(now + reply.wait, pace) if reply.wait > 0 else 0
            self._hold_until, self._hold_need = max(now + wait, pace), max(0, reply.balance) + 1
        elif pace and reply.balance < min(ask.want - given, reply.chunk):
            self._hold_until, self._hold_need, self._fits_at = pace, 1, 0
        else:
            return
        self._words.deny(self.index, self.rate, self._hold_need, self._hold_until, self._fits_at)
