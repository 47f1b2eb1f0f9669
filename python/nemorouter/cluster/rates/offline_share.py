"""What a host lends itself of the rate limits while it cannot reach the bank: a bucket for each,
which begins empty.

No clock and no network: time is a parameter (the host's boot clock, microseconds). While all hosts
are without the bank and the shares add up to one at most, the sum of their buckets is no more than
the limit's; what is missing in a bucket at the end is therefore owed to the bank, which has
refilled meanwhile. Refunds do not count.
"""

from typing import Final

from nemorouter.cluster.rates.holder import Terms, Words

_MINUTE: Final = 60_000_000
_MILLE: Final = 1_000


class _Level:
    """One bucket: whole tokens that are not in the arena, and the part of a token that has trickled
    in.
    """

    def __init__(self, now: int) -> None:
        self.balance = self.part = 0
        self.at = now


class SafeShare:
    """From ``begun``, when no lease of the bank could be spent any more, until ``owed`` was asked
    for each.
    """

    def __init__(self, words: Words, terms: Terms, share: float, begun: int) -> None:
        self._words, self._terms, self._begun = words, terms, begun
        self._share = int(share * _MILLE)
        self._levels: dict[tuple[int, int], _Level] = {}

    @property
    def leases(self) -> list[tuple[int, int]]:
        """Whatever was asked for."""
        return list(self._levels)

    def serve(self, index: int, resource: int, need: int, now: int) -> None:
        """A request of ``need`` tokens did not fit; 0: little is left."""
        level = self._level(index, resource, now)
        look = self._words.lease(index, resource)
        if look.limit is None:
            return
        short = need - (look.granted - look.claimed)
        if short <= level.balance:
            give, level.balance = level.balance, 0
            until = now + self._terms.ttl - self._terms.margin
            self._words.grant(index, resource, look.granted + give, until)
        else:
            rate = max(1, look.limit * self._share)
            wait = -(-(short - level.balance) * _MINUTE * _MILLE // rate)
            self._words.deny(
                index, resource, level.balance + 1, now + min(wait, self._terms.ttl), now + wait
            )

    def owed(self, index: int, resource: int, now: int) -> int:
        """By how much the bucket is less than full. Nothing of it can be spent from here on."""
        level = self._level(index, resource, now)
        return max(0, self._cap(index, resource) - level.balance)

    def _level(self, index: int, resource: int, now: int) -> _Level:
        """The bucket at this instant, with all that nobody has claimed, refilled."""
        lost = self._words.void(index, resource)
        level = self._levels.get((index, resource))
        if level is None:
            level = self._levels[index, resource] = _Level(
                self._begun
            )  # what ran out before is void
        else:
            level.balance += lost
        limit = self._words.lease(index, resource).limit or 0
        shares = max(0, now - level.at) * limit * self._share + level.part
        level.at = max(level.at, now)
        tokens, level.part = divmod(shares, _MINUTE * _MILLE)
        level.balance += tokens
        if level.balance >= (cap := self._cap(index, resource)):
            level.balance, level.part = cap, 0
        return level

    def _cap(self, index: int, resource: int) -> int:
        return (self._words.lease(index, resource).burst or 0) * self._share // _MILLE
