"""The token bucket: one integer of state, exact for every limit."""

from nemorouter.types import RATES, Rate

_USED_MAX = 1 << 61
_BURST_MAX = 1 << 60
_PACE_MAX = 1 << 30


class Bucket:
    """A token bucket: ``limit`` tokens a period, up to ``burst`` (default: the limit) at once.

    ``rate`` is the place in RATES of the kind of limit, which has the period. The bucket counts in
    units: ``period / 2^grain`` units are one token. ``t * limit / 2^grain`` units have flowed in by
    the microsecond ``t`` since boot, and ``word`` units have been taken. The bucket is full at
    ``word <= floor(flowed)``, and empty at ``word == floor(flowed) + burst * unit``. A request that
    meets a full bucket starts from ``ceil(flowed)``, so nothing is rounded in its favour.
    """

    __slots__ = ("_grain", "_unit", "burst", "limit", "word")

    def __init__(self, limit: int, burst: int | None = None, rate: int = 0) -> None:
        self._grain = grain(RATES[rate])
        self._unit = RATES[rate].period_s * 1_000_000 >> self._grain
        self.limit = limit
        self.burst = _burst(limit, burst)
        self.word = 0

    def decide(self, n: int, now_us: int) -> int | None:
        """Return what ``word`` becomes when ``n`` tokens are taken now; None if they do not fit."""
        used = self._used(now_us)
        cost = n * self._unit
        if used + cost > self.burst * self._unit:
            return None
        return (self.word if used else self._flowed_up(now_us)) + cost

    def take(self, n: int, now_us: int) -> bool:
        """Take ``n`` tokens or none."""
        word = self.decide(n, now_us)
        if word is None:
            return False
        self.word = word
        return True

    def give(self, n: int) -> None:
        """Refund ``n`` tokens. A full bucket stays full."""
        self.word -= n * self._unit

    def owe(self, n: int, now_us: int) -> None:
        """Take ``n`` tokens unconditionally (debt), as far as the native word can hold it."""
        room = max(0, _USED_MAX - self._used(now_us))
        self.word += min(n * self._unit, room)

    def remaining(self, now_us: int) -> int:
        """Return the whole tokens left; negative while in debt."""
        return (self.burst * self._unit - self._used(now_us)) // self._unit

    def wait_us(self, n: int, now_us: int) -> int | None:
        """Return the microseconds until ``n`` tokens fit if nobody else takes any.

        None = they never do.
        """
        if self.decide(n, now_us) is not None:
            return 0
        if n > self.burst or self.limit == 0:
            return None
        return self._time_for(self._used(now_us) + (n - self.burst) * self._unit, now_us)

    def full_us(self, now_us: int) -> int:
        """Return the microseconds until the bucket is full if nobody takes any.

        A limit of 0 never fills, and has 0.
        """
        return 0 if self.limit == 0 else self._time_for(self._used(now_us), now_us)

    def relimit(self, limit: int, burst: int | None, now_us: int) -> None:
        """Change the limit and keep what was used."""
        if limit != self.limit:
            used = self._used(now_us)
            self.limit = limit
            self.word = self._flowed_up(now_us) + used if used else self._flowed(now_us)
        self.burst = _burst(limit, burst)

    def fill(self, now_us: int) -> None:
        """Make the bucket full as of now."""
        self.word = self._flowed(now_us)

    def _flowed(self, now_us: int) -> int:
        """Return the units that have flowed in, rounded down."""
        return now_us * self.limit >> self._grain

    def _flowed_up(self, now_us: int) -> int:
        """Return the units that have flowed in, rounded up."""
        return -(-now_us * self.limit >> self._grain)

    def _used(self, now_us: int) -> int:
        """Return the units used up now."""
        return max(0, self.word - self._flowed(now_us))

    def _time_for(self, units: int, now_us: int) -> int:
        """Return the microseconds from now until so many units more have flowed in."""
        beyond = now_us * self.limit - (self._flowed(now_us) << self._grain)
        return -(-max(0, (units << self._grain) - beyond) // self.limit)


def grain(rate: Rate) -> int:
    """Return how often the unit of a rate is doubled, so that the native word has room for it.

    The largest burst is at most 2^60 units, and at most 2^30 units flow in during a microsecond.
    """
    period_us = rate.period_s * 1_000_000
    doubled = 0
    while rate.most * (period_us >> doubled) > _BURST_MAX or rate.most >> doubled > _PACE_MAX:
        doubled += 1
    return doubled


def _burst(limit: int, burst: int | None) -> int:
    """Return the burst of a limit. A limit of 0 blocks everything, whatever the burst."""
    return limit if burst is None or limit == 0 else burst
