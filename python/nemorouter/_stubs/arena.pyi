"""Describe the arena: policies, prices and meters of a host in shared memory."""

from collections.abc import Sequence
from typing import final

from nemorouter._stubs.journal import Journal
from nemorouter._stubs.views import Identity, Lease, Meters
from nemorouter.types import ModelPrice, Policy

@final
class Arena:
    """Hold all scopes of a host: digest table, records, meters, allow-lists, prices.

    Writers of policies must be one at a time across processes (the lock ``policy.lock``); readers
    need no lock.
    """

    @staticmethod
    def private(capacity: int) -> Arena:
        """Make an arena in private memory, for one process."""

    @staticmethod
    def create(path: str, capacity: int, identity: bytes) -> Arena:
        """Create an arena in a new file, to be filled and then published.

        ``identity``: 32 bytes that ``open`` must repeat. OSError: there is no room; every page is
        allocated before it is touched.
        """

    @staticmethod
    def open(path: str, identity: bytes) -> Arena:
        """Map an existing arena.

        FileNotFoundError: there is none. ValueError: its layout, size or identity differs.
        """

    def publish(self, path: str) -> None:
        """Rename the file to ``path`` and mark it complete.

        ``open`` refuses an arena that was not published.
        """

    @property
    def applied(self) -> int:
        """The store's change sequence up to which policies were applied."""

    @applied.setter
    def applied(self, sequence: int) -> None: ...
    @property
    def capacity(self) -> int: ...
    @property
    def scopes(self) -> int:
        """Records in use; scope indices are 0 … scopes-1."""

    def put(self, policy: Policy) -> int:
        """Write one policy if its version is newer than the record's; return the scope's index.

        All owners must be there already. A changed budget duration freezes the money word until
        ``recount``. A changed rate keeps what was used. ValueError: bad field. MemoryError:
        capacity or allow-list heap full. OSError: no room on the file system.
        """

    def put_many(self, policies: Sequence[Policy]) -> None: ...
    def close(self, index: int) -> None:
        """Refuse all requests of a scope whose newest policy cannot be put, until it can.

        ValueError: there is no such scope.
        """

    def put_price(self, price: ModelPrice) -> None:
        """Write the price of one model if its version is newer.

        ValueError: bad field. MemoryError: the arena holds ``MAX_PRICES`` models already.
        """

    def remove_price(self, model: str) -> None:
        """Forget the price of one model, so that another model may take its place."""

    def find(self, kind: int, id: int, digest: bytes | None = None) -> int | None:
        """Return the index of a scope: a key by its digest, other kinds by id."""

    def identity(self, index: int) -> Identity: ...
    def meters(self, index: int, boot_us: int | None = None, wall_ms: int | None = None) -> Meters:
        """Read the meters of a scope at the given instant (default: now)."""

    def frozen(self) -> list[int]:
        """List the indices of scopes whose money word waits for a recount."""

    def roll_over(self, wall_ms: int | None = None) -> None:
        """Bring the words of idle scopes up to date.

        The drainer calls it every few minutes, since words count on rings.
        """

    def window(self, index: int, wall_ms: int) -> tuple[int, int]:
        """Return first day and day after the last of the budget window in which ``wall_ms`` lies.

        Days count from 1970-01-01 UTC. If the wall clock was set back, it is the later window that
        the money word is in already.
        """

    def recount(
        self, index: int, first_day: int, ledger_nano: int, journals: Sequence[Journal]
    ) -> bool:
        """Set the money word to what the store says, and every slot that is not freed.

        ``ledger_nano`` sums the rows of the store in the window that begins on ``first_day``, as
        ``window`` returned. All journals of the host must be given, and no row may move meanwhile:
        only the drainer calls it. False: a live worker stood in transition for too long, or the
        window turned; the word stays as it was (too high, never too low), and the recount is still
        due.
        """

    def charge_past(self, index: int, rate: int, admitted: int) -> None:
        """Take from a new bucket what its scope admitted in the last period of the rate.

        ``rate`` is a place in ``RATES``; ``admitted`` counts requests or tokens, as the rate does.
        The bucket is not charged beyond its burst, and never goes into debt. Without a limit, and
        where hosts share limits, nothing changes. ValueError: no such scope or rate.
        """

    @property
    def clustered(self) -> bool:
        """Whether limits are shared with other hosts.

        If so, nothing is admitted against a limit that was not granted.
        """

    @clustered.setter
    def clustered(self, clustered: bool) -> None:
        """Share the limits of an arena that has no scopes yet.

        ValueError: it has scopes. True also fences the host, until ``admit_until_us`` is set.
        """

    @property
    def admit_until_us(self) -> int:
        """Boot clock until which this host may admit, 0 = without end.

        It counts only while ``clustered``.
        """

    @admit_until_us.setter
    def admit_until_us(self, boot_us: int) -> None: ...
    @property
    def fenced(self) -> bool:
        """True once ``admit_until_us`` has passed: ``identify`` and ``admit`` answer NOT_READY."""

    def lease(self, index: int, resource: int) -> Lease:
        """Read a lease. ``resource``: the place of a rate in ``RATES``, or ``MONEY``.

        RuntimeError while the policy is being written.
        """

    def leased(self) -> list[tuple[int, int]]:
        """List (index, resource) of all leases that were granted and are not void.

        An agent that takes over reads them.
        """

    def grant(
        self,
        index: int,
        resource: int,
        granted: int,
        until_us: int,
        first_day: int = 0,
        centre: int = 0,
    ) -> None:
        """Let the host claim up to ``granted``, which never falls, until ``until_us``.

        ``centre``: what the bank had left, for the headers. It clears ``deny``. Money: ``granted``
        nano-USD in the window of ``first_day``; ``until_us`` and ``centre`` mean nothing.
        """

    def withdraw(self, index: int, resource: int, most: int) -> int:
        """Take back up to ``most`` of what is unspent; no request can spend what is returned.

        Of a rate it is claimed and counted as returned. Of money ``granted`` falls by it.
        """

    def void(self, index: int, resource: int) -> int:
        """End a lease: claim what is unspent, which is lost.

        It must be called before a new lease is granted.
        """

    def deny(self, index: int, resource: int, need: int, until_us: int, fits_us: int = 0) -> None:
        """Refuse at once, until ``until_us``, what lacks ``need`` units or more.

        ``until_us`` 0: nothing is refused. ``need`` is best what the bank had left, plus one: of
        money, the refusal then tells the true spend. ``fits_us`` is when ``need`` units are there
        if nobody else takes any, for Retry-After; it may lie after ``until_us``. A grant and a
        policy write clear the denial.
        """

    def take_demand(self, limit: int = 256) -> list[tuple[int, int, int]]:
        """Take out (index, resource, need): a request of ``need`` met a short lease.

        A need of 0 says that the lease is at low water. A demand may come twice; one that is lost
        comes again.
        """
