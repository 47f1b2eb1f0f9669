"""Measure the use of one rate lease: its pace, its refunds, and when anything moved last."""

from typing import Final

from nemorouter.cluster.rates.terms import LeaseView

# The age of the claims that are reported: what a refusal takes for an instant is no longer in them.
_STALE_US: Final = 1_000
_Look = tuple[int, int]  # when, and how many tokens were claimed then


class UseMeter:
    """What requests claimed of a lease word and got back, from one look to the next."""

    def __init__(self, look: LeaseView, now: int) -> None:
        self.pace = 0.0  # tokens a microsecond
        self.moved_at = now
        self.refund_since: int | None = None  # the earliest refund that was not reported
        self._start(look, now)

    def _start(self, look: LeaseView, now: int) -> None:
        self._refunds_before = look.returned
        self._refunds_seen = 0
        self._looks: tuple[_Look, _Look] = ((now, look.claimed), (now, look.claimed))

    def restart(self, look: LeaseView, now: int) -> None:
        """Count from zero again, at the pace that is known."""
        self.refund_since = None
        self._start(look, now)

    def observe(self, look: LeaseView, now: int, horizon_us: int) -> None:
        """Take in a look at the word; the pace follows use over about ``horizon_us``."""
        then, claimed = self._looks[1]
        refunds = look.returned - self._refunds_before
        if refunds > self._refunds_seen:
            self.refund_since = then if self.refund_since is None else self.refund_since
            self._refunds_seen = refunds
            self.moved_at = now
        if look.claimed > claimed:
            self.moved_at = now
        span = now - then
        if span >= _STALE_US:
            pace = (look.claimed - claimed) / span
            weight = span / (span + horizon_us)
            self.pace += (pace - self.pace) * weight
            self._looks = ((then, claimed), (now, look.claimed))

    def take_back(self, tokens: int, *, refunds: bool) -> None:
        """Leave out tokens that were claimed for the bank: they are neither use nor a refund.

        ``refunds``: the word counts them as returned.
        """
        self._refunds_before += tokens if refunds else 0
        (then, before), (now, claimed) = self._looks
        self._looks = ((then, before + tokens), (now, claimed + tokens))

    def refunds(self, look: LeaseView) -> int:
        """Return the refunds up to ``look`` that an earlier look has seen."""
        return min(look.returned - self._refunds_before, self._refunds_seen)

    def settled(self, look: LeaseView) -> int:
        """Return the tokens claimed up to the look before the last."""
        return min(self._looks[0][1], look.claimed)
