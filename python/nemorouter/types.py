"""The words every part of NemoRouter shares: kinds, states, endpoints, and the policy of a scope.

A leaf: it imports nothing of the package. Numbers here are stored in the arena, the journal and the
store; a number once given is never given another meaning.
"""

from enum import IntEnum
from typing import Final

import msgspec

NANO = 1_000_000_000
"""Nano-USD in a dollar. Money is an integer of nano-USD everywhere; never a float."""

MAX_SPEND_NANO = 10_000_000 * NANO
"""The largest budget of one window: what the arena's money word holds with room for overruns."""

MAX_LIMIT = 1_000_000_000
"""The largest limit and burst of a rate a minute: a bucket word is exact up to here."""

MAX_DAY_LIMIT = 100_000_000_000
"""The largest limit and burst of a rate a day."""

MAX_MODEL_BYTES = 120
"""The longest model name, in UTF-8 bytes, that a journal slot carries."""

MAX_PRICES = 2048
"""The most models whose prices an arena holds."""

_PERIODS: Final = {60: "minute", 86_400: "day"}


class Rate(msgspec.Struct, frozen=True):
    """One kind of rate limit.

    ``resource`` says what it counts: "requests" or "tokens". ``most`` is the largest limit and
    burst, ``code`` the member of ``errors.Code`` that its refusal has, in lower case.
    """

    name: str
    resource: str
    period_s: int
    most: int
    code: str

    @property
    def burst(self) -> str:
        """Name of the field that holds the bucket's size; a burst of None is the limit itself."""
        return f"{self.name}_burst"

    @property
    def period_us(self) -> int:
        """Length of the period in microseconds."""
        return self.period_s * 1_000_000

    @property
    def period(self) -> str:
        """Name of the period: "minute" or "day"."""
        return _PERIODS[self.period_s]

    @property
    def label(self) -> str:
        """Name of the limit for people, such as "Requests a minute"."""
        return f"{self.resource.capitalize()} a {self.period}"


RATES: Final = (
    Rate("rpm", "requests", 60, MAX_LIMIT, "rate_limit_exceeded"),
    Rate("tpm", "tokens", 60, MAX_LIMIT, "tpm_limit_exceeded"),
    Rate("rpd", "requests", 86_400, MAX_DAY_LIMIT, "rpd_limit_exceeded"),
    Rate("tpd", "tokens", 86_400, MAX_DAY_LIMIT, "tpd_limit_exceeded"),
)
"""All kinds of rate limits, in the order in which they are checked.

The place of a row is its number in policies, meters, leases and refusals. The native module has the
same table (``_core.RATES``); a test compares the two.
"""

MONEY: Final = 15
"""Number of the budget among the meters of a scope; rates have their places in ``RATES``."""

RATE_FIELDS: Final = tuple(field for rate in RATES for field in (rate.name, rate.burst))
"""Names of the limits and bursts as columns, JSON fields and options have them."""


def per_rate(**values: int | None) -> tuple[int | None, ...]:
    """Order values that are given by the names of their rates as ``RATES`` orders them.

    A rate without a value gets None. ValueError: no rate has such a name.
    """
    unknown = values.keys() - {rate.name for rate in RATES}
    if unknown:
        raise ValueError(f"no such rate: {', '.join(sorted(unknown))}")
    return tuple(values.get(rate.name) for rate in RATES)


class Kind(IntEnum):
    """Number the kinds of scope that a record of the arena may be.

    A request is charged to all four.
    """

    ORG = 1
    TEAM = 2
    USER = 3
    KEY = 4


class Status(IntEnum):
    """State of a scope. Anything but ACTIVE refuses its keys at once."""

    ACTIVE = 1
    REVOKED = 2
    DISABLED = 3


class Duration(IntEnum):
    """Window of a budget, in UTC. A scope without a budget is metered by the month."""

    TOTAL = 0
    DAILY = 1
    WEEKLY = 2
    MONTHLY = 3


class Endpoint(IntEnum):
    """Number what a key may call. The value is the bit in a policy's endpoint mask."""

    CHAT_COMPLETIONS = 0
    COMPLETIONS = 1
    RESPONSES = 2
    EMBEDDINGS = 3
    IMAGES_GENERATIONS = 4
    MODERATIONS = 5
    MODELS = 6
    OTHER = 7  # a guarded path of a wrapped app that is no call of the API


class Outcome(IntEnum):
    """Number the ways in which a ticket ends. The request log names them in lower case."""

    OK = 1
    UPSTREAM_ERROR = 2
    CLIENT_GONE = 3
    TIMEOUT = 4
    RECOVERED = 5


class Policy(msgspec.Struct, frozen=True):
    """All that the request path needs to know of one scope, as the store tells it to the arena.

    Bulk loading builds it by position: the order of the fields is part of the interface.

    ``id``, ``org``, ``team`` and ``user`` are the store's 63-bit row ids; a key names its team,
    user (0 = none) and org, a team or user its org. ``version`` is the store's change sequence: an
    older policy never overwrites a newer. ``None`` as a limit, ``cap`` or ``expires_ms`` means
    unlimited; 0 blocks everything. Empty ``models``, ``ips`` and a zero ``endpoints`` mask allow
    all that the owner allows.
    """

    kind: int
    id: int
    version: int
    status: int = Status.ACTIVE
    org: int = 0
    team: int = 0
    user: int = 0
    digest: bytes = b""  # keys: 32-byte keyed BLAKE3; other kinds: empty
    limits: tuple[int | None, ...] = (None,) * len(RATES)  # in the order of RATES
    bursts: tuple[int | None, ...] = (None,) * len(RATES)  # in the order of RATES; None = the limit
    cap: int | None = None  # nano-USD a window
    duration: int = Duration.MONTHLY
    expires_ms: int | None = None  # Unix milliseconds
    endpoints: int = 0  # bit mask over Endpoint
    models: tuple[str, ...] = ()  # exact names, or a prefix and "*"
    ips: tuple[str, ...] = ()  # CIDR blocks or addresses, v4 and v6
    name: str = ""
    last4: str = ""


class ModelPrice(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the price of a model: nano-USD per million tokens, and per request or image.

    A price without ``input`` is unknown.
    """

    model: str
    version: int
    input: int | None = None
    cached: int | None = None  # None = same as input
    output: int = 0
    request: int = 0  # nano-USD for each request, or each image of an image request
    max_output: int = 4096  # tokens reserved when the client states no maximum
