"""Define what gate and journal return: Identity, Meters, Refusal, Row. Frozen and without logic."""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity of a scope: ids of the store, name, and the last four characters of a key."""

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
    """The amounts that a scope has left, at one instant. None is unlimited."""

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


class Row(NamedTuple):
    """A row of the request log, with the fields of the native ``Row``."""

    slot: int
    journal_id: int
    seq: int
    at_ms: int
    key_id: int
    team_id: int
    user_id: int
    org_id: int
    model: str
    upstream: str
    endpoint: int
    status: int
    outcome: int
    stream: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_nano: int | None
    reserved_nano: int
    latency_us: int
    ttft_us: int | None
