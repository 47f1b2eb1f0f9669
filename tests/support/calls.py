"""A call that a stream settles, and that notes what it was told."""

from nemorouter.upstream.base import Usage


class Call:
    """What a scanner asks of the call."""

    def __init__(self, cost: str | None = None) -> None:
        self.begins = 0
        self.bills: list[Usage] = []
        self.cost = cost

    def begun(self) -> None:
        self.begins += 1

    def bill(self, usage: Usage) -> str | None:
        self.bills.append(usage)
        return self.cost
