"""The token-domain bucket: one integer of state, exact for every limit, no rounding that adds up."""

PERIOD_US = 60_000_000
"""Limits are per minute; time is in microseconds."""


class Bucket:
    """``limit`` a minute, up to ``burst`` (default: the limit) at once. The one word counts tokens, not time.

    E(t) = floor(t * limit / 60 s) is what has flowed in since boot; ``word`` is what has been taken, in the same unit.
    Whatever lies below E has been refilled, so the bucket is full at ``word <= E`` and empty at ``word == E + burst``.
    """

    __slots__ = ("burst", "limit", "word")

    def __init__(self, limit: int, burst: int | None = None) -> None:
        self.limit = limit
        self.burst = limit if burst is None or limit == 0 else burst  # a limit of 0 blocks everything
        self.word = 0

    def decide(self, n: int, now_us: int) -> int | None:
        """What ``word`` becomes when ``n`` tokens are taken now; None if they do not fit."""
        flowed = now_us * self.limit // PERIOD_US
        word = (self.word if self.word > flowed else flowed) + n
        return word if word <= flowed + self.burst else None

    def take(self, n: int, now_us: int) -> bool:
        """Take ``n`` tokens or none."""
        word = self.decide(n, now_us)
        if word is None:
            return False
        self.word = word
        return True

    def give(self, n: int) -> None:
        """Refund ``n`` tokens. A full bucket stays full: what lies below E has no effect."""
        self.word = max(0, self.word - n)

    def owe(self, n: int) -> None:
        """Take ``n`` tokens unconditionally (debt)."""
        self.word += n

    def remaining(self, now_us: int) -> int:
        """Tokens left; negative while in debt."""
        flowed = now_us * self.limit // PERIOD_US
        return flowed + self.burst - max(self.word, flowed)

    def wait_us(self, n: int, now_us: int) -> int | None:
        """Microseconds until ``n`` tokens fit if nobody else takes any; None = they never do."""
        if self.decide(n, now_us) is not None:
            return 0
        if n > self.burst or self.limit == 0:
            return None
        return self._until(self.word + n - self.burst, now_us)

    def full_us(self, now_us: int) -> int:
        """Microseconds until the bucket is full if nobody takes any; 0 for a limit of 0, which never fills."""
        return 0 if self.limit == 0 else self._until(self.word, now_us)

    def relimit(self, limit: int, burst: int | None, now_us: int) -> None:
        """Change the limit and keep what was used."""
        if limit != self.limit:
            used = max(0, self.word - now_us * self.limit // PERIOD_US)
            self.word = now_us * limit // PERIOD_US + used
        self.limit, self.burst = limit, limit if burst is None or limit == 0 else burst

    def _until(self, flowed: int, now_us: int) -> int:
        """Microseconds from now until E reaches ``flowed``."""
        return max(0, -(-flowed * PERIOD_US // self.limit) - now_us)
