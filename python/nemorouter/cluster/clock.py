"""What a host knows of the bank's clock, by its own. It must never believe that more time has
passed there than has.
"""

from typing import Final

DRIFT: Final = 1000
"""One part in so many, by which clocks may run apart."""


class BankClock:
    """What the bank's clock showed at least, at a moment of ours."""

    def __init__(self) -> None:
        self._theirs = self._ours = 0

    def heard(self, theirs: int, ours: int) -> None:
        """An answer that carried ``theirs`` was here at ``ours``."""
        self._theirs, self._ours = theirs, ours

    def at_least(self, ours: int) -> int:
        """0 before anything was heard."""
        apart = ours - self._ours
        return max(0, self._theirs + apart - abs(apart) // DRIFT - 1) if self._theirs else 0
