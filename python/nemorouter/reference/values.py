"""What the gate answers: Identity, Meters, Refusal. Frozen values without behaviour."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a scope is: ids of the store, name, and the last four characters of a key."""

    kind: int
    id: int
    org: int
    team: int
    user: int
    name: str
    last4: str
    status: int


@dataclass(frozen=True, slots=True)
class Meters:
    """What a scope has left, at one instant. None = unlimited."""

    remaining: tuple[int | None, ...]  # in the order of RATES
    committed: int
    cap: int | None
    duration: int
    frozen: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why ``admit`` said no, with what the answer needs. Nothing was consumed at any level."""

    code: int
    index: int
    kind: int = 0
    rate: int | None = None  # place in RATES
    limit: int = 0
    used: int = 0
    retry_after_us: int | None = None
