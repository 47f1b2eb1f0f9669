"""Model the lease words of one limit at one host, on a clock that the simulation moves."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Words:
    """One resource of one scope. ``claimed``, ``returned`` and ``granted`` never fall."""

    limit: int
    burst: int
    clock: Callable[[], int]
    version: int = 1
    claimed: int = 0
    returned: int = 0
    granted: int = 0
    until_us: int = 0
    deny_need: int = 0
    deny_until: int = 0
    low_mark: int = 0

    def lease(self, index: int, resource: int) -> "Words":
        return self

    @property
    def unspent(self) -> int:
        """Return what requests could claim now."""
        return max(0, self.granted - self.claimed) if self.clock() < self.until_us else 0

    def grant(
        self,
        index: int,
        resource: int,
        granted: int,
        until_us: int,
        first_day: int = 0,
        centre: int = 0,
    ) -> None:
        assert granted >= self.granted, "a grant never lowers"
        self.granted = granted
        self.until_us = until_us
        self.deny_until = 0
        self.low_mark = (self.granted - self.claimed) // 4

    def withdraw(self, index: int, resource: int, most: int) -> int:
        taken = min(most, max(0, self.granted - self.claimed))
        self.claimed += taken
        self.returned += taken
        return taken

    def void(self, index: int, resource: int) -> int:
        lost = max(0, self.granted - self.claimed)
        self.claimed += lost
        self.until_us = 0
        return lost

    def deny(self, index: int, resource: int, need: int, until_us: int, fits_us: int = 0) -> None:
        self.deny_need = need
        self.deny_until = until_us

    def claim(self, tokens: int) -> bool | None:
        """Return True if admitted, False if refused, None if the agent must ask the bank first."""
        if tokens <= self.unspent:
            self.claimed += tokens
            return True
        return (
            False
            if self.clock() < self.deny_until and tokens - self.unspent >= self.deny_need
            else None
        )

    def low(self) -> bool:
        """Nearly used up; said once per grant."""
        if self.granted - self.claimed >= self.low_mark:
            return False
        self.low_mark = 0
        return True
