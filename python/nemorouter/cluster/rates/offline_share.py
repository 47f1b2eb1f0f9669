"""Lends the host a share of the rate limits while it cannot reach the bank.

Each limit has a bucket of its own, which begins empty.

No clock and no network: time is a parameter (the host's boot clock, microseconds). While all hosts
are without the bank and the shares add up to one at most, the sum of their buckets is no more than
the limit's; what is missing in a bucket at the end is therefore owed to the bank, which has
refilled meanwhile. Refunds do not count.
"""

from typing import Final

from nemorouter.cluster.rates.terms import Terms, Words
from nemorouter.types import RATES

_MILLE: Final = 1_000


class _Level:
    """One bucket: whole tokens that are not in the arena, and the refilled part of the next one."""

    def __init__(self, now: int) -> None:
        self.balance = 0
        self.part = 0
        self.at = now


class OfflineShare:
    """The host's own buckets, from ``begun`` until ``owed`` was asked for each.

    At ``begun`` no lease of the bank could be spent any more.
    """

    def __init__(self, words: Words, terms: Terms, share: float, begun: int) -> None:
        self._words = words
        self._terms = terms
        self._begun = begun
        self._share = int(share * _MILLE)
        self._levels: dict[tuple[int, int], _Level] = {}

    @property
    def leases(self) -> list[tuple[int, int]]:
        """Return the buckets that were asked for: scope index, and place in types.RATES."""
        return list(self._levels)

    def serve(self, index: int, rate: int, need: int, now: int) -> None:
        """Grant tokens: a request of ``need`` did not fit; 0: little is left."""
        level = self._level(index, rate, now)
        look = self._words.lease(index, rate)
        if look.limit is None:
            return
        short = need - (look.granted - look.claimed)
        if short <= level.balance:
            give = level.balance
            level.balance = 0
            until = now + self._terms.ttl - self._terms.margin
            self._words.grant(index, rate, look.granted + give, until)
        else:
            flow = max(1, look.limit * self._share)
            wait = -(-(short - level.balance) * _period(rate) // flow)
            self._words.deny(
                index, rate, level.balance + 1, now + min(wait, self._terms.ttl), now + wait
            )

    def owed(self, index: int, rate: int, now: int) -> int:
        """Return by how much the bucket is less than full, and let nothing more of it be spent."""
        level = self._level(index, rate, now)
        return max(0, self._cap(index, rate) - level.balance)

    def _level(self, index: int, rate: int, now: int) -> _Level:
        """Return the bucket at this instant, refilled, with all that nobody has claimed."""
        lost = self._words.void(index, rate)
        level = self._levels.get((index, rate))
        if level is None:
            level = _Level(self._begun)  # what ran out before is void
            self._levels[index, rate] = level
        else:
            level.balance += lost
        limit = self._words.lease(index, rate).limit or 0
        shares = max(0, now - level.at) * limit * self._share + level.part
        level.at = max(level.at, now)
        tokens, level.part = divmod(shares, _period(rate))
        level.balance += tokens
        if level.balance >= (cap := self._cap(index, rate)):
            level.balance = cap
            level.part = 0
        return level

    def _cap(self, index: int, rate: int) -> int:
        return (self._words.lease(index, rate).burst or 0) * self._share // _MILLE


def _period(rate: int) -> int:
    """Return the parts of a token: thousandths of a microsecond in the period of the rate."""
    return RATES[rate].period_us * _MILLE
