"""The token bucket: one integer of state, exact for every limit, nothing ever rounded."""

PERIOD_US = 60_000_000
"""Limits are per minute, times in microseconds. Also the shares in a token: a limit of one issues a
share in 1 us.
"""


class Bucket:
    """``limit`` a minute, up to ``burst`` (default: the limit) at once. The one word counts shares
    of tokens, not time.

    E(t) = t * limit is what has flowed in since boot; ``word`` is what has been taken, in the same
    unit. Whatever lies below E has been refilled, so the bucket is full at ``word <= E`` and empty
    at ``word == E + burst * PERIOD_US``.
    """

    __slots__ = ("burst", "limit", "word")

    def __init__(self, limit: int, burst: int | None = None) -> None:
        self.limit = limit
        self.burst = (
            limit if burst is None or limit == 0 else burst
        )  # a limit of 0 blocks everything
        self.word = 0

    def decide(self, n: int, now_us: int) -> int | None:
        """What ``word`` becomes when ``n`` tokens are taken now; None if they do not fit."""
        flowed = now_us * self.limit
        word = (self.word if self.word > flowed else flowed) + n * PERIOD_US
        return word if word <= flowed + self.burst * PERIOD_US else None

    def take(self, n: int, now_us: int) -> bool:
        """Take ``n`` tokens or none."""
        word = self.decide(n, now_us)
        if word is None:
            return False
        self.word = word
        return True

    def give(self, n: int) -> None:
        """Refund ``n`` tokens. A full bucket stays full: what lies below E has no effect."""
        self.word -= n * PERIOD_US

    def owe(self, n: int, now_us: int) -> None:
        """Take ``n`` tokens unconditionally (debt), as far as the native word can tell."""
        room = max(0, _USED_MAX - self._used(now_us))
        self.word += min(n * PERIOD_US, room)

    def remaining(self, now_us: int) -> int:
        """Whole tokens left; negative while in debt."""
        return (self.burst * PERIOD_US - self._used(now_us)) // PERIOD_US

    def wait_us(self, n: int, now_us: int) -> int | None:
        """Microseconds until ``n`` tokens fit if nobody else takes any; None = they never do."""
        if self.decide(n, now_us) is not None:
            return 0
        if n > self.burst or self.limit == 0:
            return None
        return self._time_for(self._used(now_us) + (n - self.burst) * PERIOD_US)

    def full_us(self, now_us: int) -> int:
        """Microseconds until the bucket is full if nobody takes any; 0 for a limit of 0, which
        never fills.
        """
        return 0 if self.limit == 0 else self._time_for(self._used(now_us))

    def relimit(self, limit: int, burst: int | None, now_us: int) -> None:
        """Change the limit and keep what was used."""
        if limit != self.limit:
            self.word = now_us * limit + self._used(now_us)
        self.limit, self.burst = limit, limit if burst is None or limit == 0 else burst

    def _used(self, now_us: int) -> int:
        """Shares used up now."""
        return max(0, self.word - now_us * self.limit)

    def _time_for(self, shares: int) -> int:
        """Microseconds in which these shares flow in."""
        return -(-shares // self.limit)


_USED_MAX = 1 << 61
