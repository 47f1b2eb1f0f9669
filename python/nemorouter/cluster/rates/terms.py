"""Define what all rate leases share: their times, and the lease word in the arena."""

from typing import Final, Protocol

import msgspec

from nemorouter.cluster.clock import DRIFT
from nemorouter.types import RATES

_MARGIN_US: Final = 2_000


class Terms(msgspec.Struct, frozen=True):
    """The times that all rate leases of an installation share, in microseconds."""

    ttl: int = 2_000_000
    tick: int = 100_000
    idle: int = 1_000_000

    @property
    def margin(self) -> int:
        """Return how much earlier than the bank the host ends a lease, in microseconds."""
        return self.ttl // DRIFT + _MARGIN_US


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


class LeaseWord:
    """The word of one rate lease: a scope's index, and the place of the rate in types.RATES."""

    def __init__(self, words: Words, index: int, rate: int) -> None:
        self._words = words
        self._index = index
        self._rate = rate
        self.period = RATES[rate].period_us
        self.resource = RATES[rate].resource

    def read(self) -> LeaseView:
        """Return the lease at this instant."""
        return self._words.lease(self._index, self._rate)

    def grant(self, granted: int, until: int, *, centre: int = 0) -> None:
        """Let requests claim up to ``granted`` until ``until``; ``centre`` lies in the bank."""
        self._words.grant(self._index, self._rate, granted, until, centre=centre)

    def withdraw(self, most: int) -> int:
        """Take back up to ``most`` unspent tokens; return how many no request can spend now."""
        return self._words.withdraw(self._index, self._rate, most)

    def void(self) -> int:
        """End the lease; return the unspent tokens, which are lost."""
        return self._words.void(self._index, self._rate)

    def deny(self, need: int, until: int, fits: int) -> None:
        """Refuse requests of ``need`` tokens or more until ``until``; one may fit at ``fits``."""
        self._words.deny(self._index, self._rate, need, until, fits)
