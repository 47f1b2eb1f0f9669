"""Hold the host's side of one rate lease: report to the bank, and apply its replies.

A deterministic state machine without clock or network. Time is a parameter: the host's boot clock
in microseconds. The arena may never spend what the bank may have granted to another host, so
``granted`` rises only by a reply to the newest report, until a moment counted from before that
report was sent.
"""

from typing import Final

from nemorouter.cluster.clock import BankClock
from nemorouter.cluster.rates.messages import RateReply, RateRequest
from nemorouter.cluster.rates.reports import Reports
from nemorouter.cluster.rates.terms import LeaseView, LeaseWord, Terms, Words
from nemorouter.cluster.rates.use import UseMeter

_FORGET_US: Final = 240_000_000  # the bank remembers a dead holder for five minutes
_KEEP_ALIVE_US: Final = 120_000_000
_REST_US: Final = 1_000_000  # how often a quiet lease is looked at
_QUIET_US: Final = 2_000_000
_KEEP_US: Final = {
    "requests": 10_000_000,
    "tokens": 600_000_000,  # they may come back from a long stream
}
_HORIZON: Final = 3  # ticks of use that are asked for ahead
_AGAIN_US: Final = 1_500_000  # look again after a refusal, when others may give back
_LONGEST_US: Final = 60_000_000


class Drought:
    """The time until which the bank has nothing for requests of ``need`` tokens or more."""

    def __init__(self) -> None:
        self.until = 0
        self.need = 0
        self.fits_at = 0
        self._version = 0

    def follow(self, version: int) -> None:
        """End the drought where the policy has another version."""
        if version != self._version:
            self._version = version
            self.until = 0

    def begin(self, until: int, need: int, fits_at: int) -> None:
        """Refuse requests of ``need`` tokens or more until ``until``."""
        self.until = until
        self.need = need
        self.fits_at = fits_at

    def deny(self, word: LeaseWord) -> None:
        """Write the refusal into the lease word."""
        word.deny(self.need, self.until, self.fits_at)


class Holder:
    """The host's side of one rate lease.

    Call ``ask`` when there may be something to report, then ``receive`` or ``lost``, once.
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
        self._word = LeaseWord(words, index, rate)
        self._terms = terms
        self._drought = Drought()
        self._needs: list[int] = []
        self._low = False
        self._pressed = False
        self._chunk = 0
        self._given = 0
        self._open(nonce, epoch, now, owed)
        self._use = UseMeter(self._word.read(), now)

    def _open(self, nonce: int, epoch: int, now: int, owed: int = 0) -> None:
        """Begin a new nonce, from zero: nothing of an older grant may be spent any more."""
        self._word.void()
        self._zero = self._word.read().granted - owed
        self._reports = Reports(nonce, epoch, now, owes=owed > 0)

    @property
    def asked(self) -> RateRequest | None:
        """Return the report that has no reply yet."""
        return self._reports.pending

    @property
    def finished(self) -> bool:
        """Return whether the bank knows all, nothing is left, and nothing happened for long."""
        return self._reports.bye and self._reports.pending is None

    def next_look(self, now: int) -> int:
        """Return when ``ask`` should be called again if no demand comes before."""
        reports = self._reports
        moved = now - self._use.moved_at < _QUIET_US
        busy = self._needs or reports.place > reports.spent or moved
        return now + (self._terms.tick if busy else _REST_US)

    def demand(self, need: int) -> None:
        """Note that a request of ``need`` tokens did not fit; 0: the lease is nearly used up."""
        if need:
            self._needs.append(need)
        else:
            self._low = True

    def ask(self, now: int, clock: BankClock, fresh_nonce: int) -> RateRequest | None:
        """Return the next report to the bank; None if there is none, or a reply is outstanding."""
        if self._reports.pending is not None:
            return None
        if now - self._reports.contact > _FORGET_US:
            self._open(fresh_nonce, 0, now)
            self._use.restart(self._word.read(), now)
        look = self._observe(now)
        self._give_up(look, now)
        look = self._word.read()
        need, demand, target = self._demanded(look, now)
        if not (need or target or self._has_news(look, now)):
            return None
        return self._reports.send(self._report(look, need, demand, target, now, clock), now)

    def _observe(self, now: int) -> LeaseView:
        """Read the lease word; update the pace of use and the age of unreported refunds."""
        look = self._word.read()
        self._use.observe(look, now, _HORIZON * self._terms.tick)
        return look

    def _give_up(self, look: LeaseView, now: int) -> None:
        """Take from the arena what has run out, lies idle, or is needed by other hosts."""
        left = look.granted - look.claimed
        if left <= 0:
            return
        if now >= look.until_us:
            self._take_back(self._word.void(), refunds=False)
        elif now - self._use.moved_at >= self._terms.idle or look.limit is None:
            self._take_back(self._word.withdraw(left), refunds=True)
        elif self._pressed:
            spare = left - int(self._use.pace * 2 * self._terms.tick) - sum(self._needs)
            if spare > self._chunk // 4:
                self._take_back(self._word.withdraw(spare), refunds=True)
        self._pressed = False

    def _take_back(self, tokens: int, *, refunds: bool) -> None:
        """Count tokens that were claimed for the bank as given back, not as spent or refunded."""
        self._zero += tokens
        self._use.take_back(tokens, refunds=refunds)

    def _demanded(self, look: LeaseView, now: int) -> tuple[int, int, int]:
        """Return three amounts of tokens to ask for.

        They are the least that helps a request, what requests wait for, and that with what will
        soon be used.
        """
        if look.limit is None or look.burst is None:
            self._needs.clear()
            return 0, 0, 0
        self._drought.follow(look.version)
        left = max(0, look.granted - look.claimed) if now < look.until_us else 0
        short = [need for need in self._needs if need > left]
        low = self._low
        self._low = False
        if short and now < self._drought.until:
            self._drought.deny(self._word)
            short = [need for need in short if need - left < self._drought.need]
        self._needs.clear()
        ahead = int(self._use.pace * _HORIZON * self._terms.tick)
        if now - self._reports.contact < self._terms.tick:
            ahead = max(ahead, 2 * self._given)  # the last grant was used up at once
        if short:
            demand = min(sum(short), look.burst) - left
            return min(short) - left, max(demand, min(short) - left), max(demand, demand + ahead)
        if low and now >= self._drought.until and ahead > left:
            return 0, 0, ahead - left
        return 0, 0, 0

    def _has_news(self, look: LeaseView, now: int) -> bool:
        """Return whether there is something to report to the bank."""
        place = look.granted - self._zero
        spent = look.claimed - self._zero
        reports = self._reports
        given_back = place < reports.place
        refunded = self._use.refunds(look) > reports.refunded
        if reports.owes or given_back or spent > place or refunded:
            return True
        quiet = now - reports.contact
        # The bank still holds tokens for this host: spent by now, or to be kept.
        if place > reports.spent:
            return quiet >= self._terms.ttl // 2
        if now - self._use.moved_at >= _KEEP_US[self._word.resource] and not reports.bye:
            reports.bye = True
            return reports.spent > 0
        return quiet >= _KEEP_ALIVE_US and not reports.bye

    def _report(
        self, look: LeaseView, need: int, demand: int, target: int, now: int, clock: BankClock
    ) -> RateRequest:
        since = self._use.refund_since
        reports = self._reports
        reports.bye = reports.bye and not target
        return RateRequest(
            nonce=reports.nonce,
            sequence=reports.next_sequence(),
            epoch=reports.epoch,
            place=look.granted - self._zero,
            spent=self._use.settled(look) - self._zero,
            refunded=self._use.refunds(look),
            refunded_at=clock.at_least(now if since is None else since),
            need=need,
            demand=demand,
            target=target,
            bye=reports.bye,
            limit=look.limit or 0,
            period=self._word.period,
            burst=look.burst or 0,
            version=look.version,
        )

    def resign(self, now: int, clock: BankClock) -> RateRequest | None:
        """Return the last report of an agent that ends, which gives back all that is unspent."""
        reports = self._reports
        if reports.pending is not None or not reports.place:
            return None
        look = self._observe(now)
        left = look.granted - look.claimed
        if left > 0:
            self._take_back(self._word.withdraw(left), refunds=True)
            look = self._word.read()
        reports.bye = True
        return reports.send(self._report(look, 0, 0, 0, now, clock), now)

    def lost(self) -> None:
        """Drop the outstanding report, which got no reply.

        The next report states anew what the host holds, so it does not matter whether this one
        arrived.
        """
        self._reports.lost()
        self._needs.clear()

    def receive(self, reply: RateReply, now: int) -> None:
        """Apply the reply to the outstanding report; ignore a reply to an older one."""
        report = self._reports.answered(reply, now)
        if report is None:
            return
        self._use.refund_since = None
        if reply.void:
            self._word.void()
        if not report.bye:
            until = self._reports.sent_at + self._terms.ttl - self._terms.margin
            self._word.grant(self._zero + reply.place, until, centre=max(0, reply.balance))
        self._needs.clear()
        self._note_drought(report, reply, now)
        self._pressed = reply.pressed and not report.need
        self._chunk = reply.chunk

    def _note_drought(self, report: RateRequest, reply: RateReply, now: int) -> None:
        """Remember until when the bank has nothing to grant, so that it is not asked before."""
        given = reply.place - max(report.place, report.spent)
        self._given = given
        pace = self._reports.sent_at + self._terms.tick if reply.chunk > 1 else 0
        if given < report.need:
            again = _AGAIN_US if reply.others else _LONGEST_US
            wait = _LONGEST_US if reply.wait < 0 else min(reply.wait, again)
            fits_at = max(now + reply.wait, pace) if reply.wait > 0 else 0
            self._drought.begin(max(now + wait, pace), max(0, reply.balance) + 1, fits_at)
        elif pace and reply.balance < min(report.target - given, reply.chunk):
            self._drought.begin(pace, 1, 0)
        else:
            return
        self._drought.deny(self._word)
