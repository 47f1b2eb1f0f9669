"""Hold all scopes in private memory: found by digest or id, written by version, with meters."""

from collections.abc import Sequence
from threading import Lock

from nemorouter.reference.clock import Clock, SystemClock
from nemorouter.reference.cost import AMOUNT_MAX
from nemorouter.reference.journal import Journal
from nemorouter.reference.scope import Scope, check_policy
from nemorouter.reference.values import Identity, Meters
from nemorouter.reference.windows import DAY_MS, Window, ahead, window_at, window_days
from nemorouter.types import Kind, ModelPrice, Policy


class Arena:
    """The scopes of one process, and the one lock under which gates decide.

    It knows no other hosts.
    """

    clustered = False
    fenced = False  # of one machine

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.applied = 0
        self.clock: Clock = SystemClock()
        self.lock = Lock()
        self.records: list[Scope] = []
        self.keys: dict[bytes, Scope] = {}
        self.prices: dict[str, ModelPrice] = {}
        self._owners: dict[tuple[int, int], Scope] = {}

    @staticmethod
    def private(capacity: int) -> "Arena":
        """In private memory, for one process."""
        return Arena(capacity)

    @property
    def scopes(self) -> int:
        """Records in use; scope indices are 0 … scopes-1."""
        return len(self.records)

    def put(self, policy: Policy) -> int:
        """Write one policy if its version is newer than the record's; answer the scope's index."""
        check_policy(policy)
        with self.lock:
            return self._put(policy)

    def put_many(self, policies: Sequence[Policy]) -> None:
        """``put`` for each, in order."""
        for policy in policies:
            self.put(policy)

    def put_price(self, price: ModelPrice) -> None:
        """Write one price if its version is newer."""
        with self.lock:
            known = self.prices.get(price.model)
            if known is None or price.version > known.version:
                self.prices[price.model] = price

    def find(self, kind: int, id: int, digest: bytes = b"") -> int | None:
        """Index of a scope: a key by its digest, other kinds by id."""
        scope = self.keys.get(digest) if kind == Kind.KEY else self._owners.get((kind, id))
        return None if scope is None else scope.index

    def identity(self, index: int) -> Identity:
        """Return the identity of a scope."""
        policy = self.records[index].policy
        return Identity(
            policy.kind,
            policy.id,
            policy.org,
            policy.team,
            policy.user,
            policy.name,
            policy.last4,
            policy.status,
        )

    def meters(self, index: int, boot_us: int | None = None, wall_ms: int | None = None) -> Meters:
        """As seen at the given instant (default: now)."""
        now_us, now_ms = self.clock.read()
        boot_us = now_us if boot_us is None else boot_us
        wall_ms = now_ms if wall_ms is None else wall_ms
        with self.lock:
            scope = self.records[index]
            policy = scope.policy
            counts = ahead(scope.window, window_at(policy.duration, wall_ms)) >= 0
            return Meters(
                tuple(
                    None if bucket is None else bucket.remaining(boot_us)
                    for bucket in scope.buckets
                ),
                scope.committed if counts else 0,
                policy.cap,
                policy.duration,
                scope.frozen,
            )

    def frozen(self) -> list[int]:
        """Return the indices of scopes whose money word waits for a recount."""
        with self.lock:
            return [scope.index for scope in self.records if scope.frozen]

    def roll_over(self, wall_ms: int | None = None) -> None:
        """Do nothing: these words are whole numbers, not places on rings."""

    def window(self, index: int, wall_ms: int) -> tuple[int, int]:
        """Return the first day, and the day after the last, of the budget window of ``wall_ms``.

        If the money word is in a later window already, that one is returned.
        """
        return window_days(_window_of(self.records[index], wall_ms))

    def recount(
        self, index: int, first_day: int, ledger_nano: int, journals: Sequence[Journal]
    ) -> bool:
        """Set the money word to ``ledger_nano`` and every slot of ``journals`` that is not freed.

        Only slots in the window count. ``first_day`` is of the window that ``ledger_nano`` sums, as
        ``window`` returned it. False: that window has ended.
        """
        with self.lock:
            scope = self.records[index]
            duration = scope.policy.duration
            window = window_at(duration, first_day * DAY_MS)
            if ahead(scope.window, window) > 0:
                return False
            slots = (slot for journal in journals for slot in journal.live.values())
            live = sum(
                slot.committed
                for slot in slots
                if scope in slot.payers and window_at(duration, slot.at_ms) == window
            )
            scope.committed = min(AMOUNT_MAX, ledger_nano + live)
            scope.window = window
            scope.frozen = False
        return True

    def charge_past(self, index: int, rate: int, admitted: int) -> None:
        """Take from a new bucket what its scope admitted in the last period of the rate.

        ``rate`` is a place in ``RATES``. The bucket is not charged beyond its burst.
        """
        with self.lock:
            bucket = self.records[index].buckets[rate]
            if bucket is not None:
                bucket.owe(min(admitted, bucket.burst), self.clock.read()[0])

    def _put(self, policy: Policy) -> int:
        owners = self._owners_of(policy)
        scope = (
            self.keys.get(policy.digest)
            if policy.kind == Kind.KEY
            else self._owners.get((policy.kind, policy.id))
        )
        if scope is not None:
            if policy.version > scope.policy.version:
                scope.write(policy, owners, *self.clock.read())
            return scope.index
        if len(self.records) >= self.capacity:
            raise MemoryError("the arena is full")
        scope = Scope(len(self.records), policy, owners, self.clock.read()[1])
        self.records.append(scope)
        if policy.kind == Kind.KEY:
            self.keys[policy.digest] = scope
        else:
            self._owners[policy.kind, policy.id] = scope
        return scope.index

    def _owners_of(self, policy: Policy) -> tuple[Scope, ...]:
        """Team, user and org of a key; the org of a team or user."""
        wanted = [(Kind.ORG, policy.org)] if policy.kind != Kind.ORG else []
        if policy.kind == Kind.KEY:
            user = [(Kind.USER, policy.user)] if policy.user else []
            wanted = [(Kind.TEAM, policy.team), *user, *wanted]
        try:
            return tuple(self._owners[kind, id] for kind, id in wanted)
        except KeyError as error:
            raise ValueError(f"owner not in the arena: {error}") from None


def _window_of(scope: Scope, wall_ms: int) -> Window:
    now = window_at(scope.policy.duration, wall_ms)
    return now if ahead(scope.window, now) < 0 else scope.window
