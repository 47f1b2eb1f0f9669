"""Estimate the bank's clock by the host's own, never later than it is."""

from typing import Final

DRIFT: Final = 1000
"""One part in so many, by which clocks may run apart."""


class BankClock:
    """A lower bound of the bank's clock, from the newest of its answers."""

    def __init__(self) -> None:
        self._theirs = 0
        self._ours = 0

    def observe(self, theirs: int, ours: int) -> None:
        """Note that an answer carrying the bank's time ``theirs`` arrived at ``ours``."""
        self._theirs = theirs
        self._ours = ours

    def at_least(self, ours: int) -> int:
        """0 before anything was heard."""
        apart = ours - self._ours
        return max(0, self._theirs + apart - abs(apart) // DRIFT - 1) if self._theirs else 0
