"""Describe the values that the gate and the arena return, and the clock of tests."""

from typing import final

@final
class ManualClock:
    """Stand still until moved: a clock for tests."""

    def __new__(cls, boot_us: int = 1_000_000, wall_ms: int = 1_767_225_600_000) -> ManualClock: ...
    def advance(self, us: int) -> None:
        """Move both clocks forward by ``us``."""

    def set_wall(self, wall_ms: int) -> None:
        """Step the wall clock (also backwards); the boot clock stays."""

@final
class Identity:
    """Identify a scope: ids of the store, name, and the last four characters of a key."""

    @property
    def kind(self) -> int: ...
    @property
    def id(self) -> int: ...
    @property
    def org(self) -> int: ...
    @property
    def team(self) -> int: ...
    @property
    def user(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def last4(self) -> str: ...
    @property
    def status(self) -> int: ...

@final
class Meters:
    """Hold what a scope has left, at one instant. None = unlimited."""

    @property
    def remaining(self) -> tuple[int | None, ...]:
        """Requests or tokens, in the order of ``RATES``; negative while in debt."""

    @property
    def committed(self) -> int:
        """Posted + reserved in the current window, nano-USD."""

    @property
    def cap(self) -> int | None: ...
    @property
    def duration(self) -> int: ...
    @property
    def frozen(self) -> bool:
        """True while the money word waits for its recount; requests are refused with NOT_READY."""

@final
class Lease:
    """Hold what a host may spend of a limit that hosts share, and has spent, at one instant.

    ``claimed``, ``returned`` and ``granted`` of a rate are tokens since the arena was made;
    none ever falls. Unspent is ``granted - claimed``; below zero it is debt. For money ``claimed``
    is the nano-USD committed, and ``granted`` the nano-USD granted, in the window that begins on
    ``first_day``.
    """

    @property
    def claimed(self) -> int: ...
    @property
    def returned(self) -> int:
        """Refunds, roll-backs and withdrawals; for money 0.

        The bank credits them; they cannot be spent here.
        """

    @property
    def granted(self) -> int: ...
    @property
    def until_us(self) -> int:
        """Boot clock at which the lease ends; 0 = never granted, or void. Money: 0."""

    @property
    def first_day(self) -> int:
        """Money: first day of the window (days since 1970-01-01 UTC). Else 0."""

    @property
    def limit(self) -> int | None:
        """The policy's limit, or its cap; None = unlimited, which needs no lease."""

    @property
    def burst(self) -> int | None:
        """The policy's burst; None for money, and where there is no limit."""

    @property
    def version(self) -> int:
        """The version of the policy that ``limit`` and ``burst`` are from."""

@final
class Refusal:
    """Say why a request is refused, with what the answer needs.

    Nothing was consumed at any level.
    """

    @property
    def code(self) -> int:
        """errors.Code"""

    @property
    def index(self) -> int:
        """The key."""

    @property
    def kind(self) -> int:
        """types.Kind of the scope that refused (0 where none did)."""

    @property
    def rate(self) -> int | None:
        """Place in ``RATES`` of the limit that refused, where one did."""

    @property
    def limit(self) -> int:
        """Rate limit or budget cap of that scope."""

    @property
    def used(self) -> int:
        """Budget: nano-USD committed in that scope."""

    @property
    def retry_after_us(self) -> int | None:
        """Microseconds until the same request fits if nobody else spends; None = it never can."""

@final
class Bucket:
    """Meter one rate, for tests and benchmarks: ``limit`` a period, up to ``burst`` at once.

    ``rate`` is the place in ``RATES`` of the kind of limit.
    """

    def __new__(cls, limit: int, burst: int | None = None, rate: int = 0) -> Bucket: ...
    def take(self, n: int, now_us: int) -> bool: ...
    def give(self, n: int) -> None:
        """Refund ``n`` tokens."""

    def owe(self, n: int, now_us: int) -> None:
        """Take ``n`` tokens unconditionally (debt)."""

    def remaining(self, now_us: int) -> int: ...
    def wait_us(self, n: int, now_us: int) -> int | None:
        """Return the microseconds until ``n`` tokens fit if nobody else takes any.

        None: they never do.
        """

    def full_us(self, now_us: int) -> int:
        """Return the microseconds until the bucket is full if nobody takes any.

        0 for a limit of 0.
        """
