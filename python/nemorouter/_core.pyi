"""Stub of the native module: the decision, in shared memory. Checked against the built module by
``make check``.

``nemorouter.reference`` implements ``Gate``, ``Refusal``, ``Meters``, ``Identity`` and
``ManualClock`` in pure Python with the same meaning. Times: ``*_us`` microseconds, ``*_ms``
milliseconds. Money: nano-USD. A *scope index* is a record's place in the arena; it is never reused
while the arena lives. Native objects may be used from any thread; none of these calls releases the
GIL but the bulk ones (``Arena.put_many``, ``Arena.recount``, ``Journal.rows``).
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, final

from _typeshed import structseq

from nemorouter.types import ModelPrice, Policy

LAYOUT: Final[int]
"""Version of the arena's and the journal's layout; a file of another layout is refused."""

CALLS: Final[list[tuple[str, int]]]
"""Paths of model calls below ``/v1``, with the numbers of ``types.Endpoint``."""
CREDENTIAL_HEADERS: Final[list[str]]
"""Headers that may carry a client's key, in lower case. None reaches an upstream or an app."""
FROM_UPSTREAM: Final[list[str]]
"""Beside its content type, the only headers of an upstream's answer that reach the client."""
FROM_UPSTREAM_ERROR: Final[list[str]]
"""What an error of an upstream carries beside ``FROM_UPSTREAM``."""
MOST_TOKENS: Final[int]
"""More tokens than any answer has; a usage that tells more is a fault, not a bill."""

RATES: Final[tuple[tuple[str, str, int, int, str], ...]]
"""The fields of ``types.RATES``, row by row: name, resource, period in seconds, most, code."""

MONEY: Final[int]
"""Number of the budget among the meters of a scope, as ``types.MONEY``."""

MAX_PRICES: Final[int]
"""Models whose price an arena holds at most."""

@final
class Row(structseq[int | str | None], tuple[int | str | None, ...]):
    """A row of the request log: a tuple with named fields. All but ``slot`` are columns of the
    table ``requests``, in its order.
    """

    __match_args__: Final = (
        "slot",
        "journal_id",
        "seq",
        "at_ms",
        "key_id",
        "team_id",
        "user_id",
        "org_id",
        "model",
        "upstream",
        "endpoint",
        "status",
        "outcome",
        "stream",
        "input_tokens",
        "cached_tokens",
        "output_tokens",
        "cost_nano",
        "reserved_nano",
        "latency_us",
        "ttft_us",
    )
    @property
    def slot(self) -> int:
        """Place in the journal, to be given back to Journal.free."""

    @property
    def journal_id(self) -> int:
        """Random 63-bit id of the journal."""

    @property
    def seq(self) -> int:
        """Number of the ticket in its journal; (journal_id, seq) is the id of the row for ever."""

    @property
    def at_ms(self) -> int:
        """Time of admission, Unix ms; it decides the budget window of every scope."""

    @property
    def key_id(self) -> int:
        """Id of the key."""

    @property
    def team_id(self) -> int:
        """Id of the key's team."""

    @property
    def user_id(self) -> int:
        """Id of the key's user, 0 = none."""

    @property
    def org_id(self) -> int:
        """Id of the key's org."""

    @property
    def model(self) -> str:
        """Name of the model."""

    @property
    def upstream(self) -> str:
        """Name of the upstream."""

    @property
    def endpoint(self) -> int:
        """Number of the endpoint (types.Endpoint)."""

    @property
    def status(self) -> int:
        """HTTP status of the answer, 0 = none."""

    @property
    def outcome(self) -> int:
        """Number of the outcome (types.Outcome)."""

    @property
    def stream(self) -> int:
        """1 if the answer was streamed."""

    @property
    def input_tokens(self) -> int:
        """Input tokens."""

    @property
    def cached_tokens(self) -> int:
        """Input tokens that the provider read from a cache (part of input_tokens)."""

    @property
    def output_tokens(self) -> int:
        """Output tokens."""

    @property
    def cost_nano(self) -> int | None:
        """Cost in nano-USD; None = the model had no price."""

    @property
    def reserved_nano(self) -> int:
        """Cost that was reserved at admission, nano-USD."""

    @property
    def latency_us(self) -> int:
        """Latency of the whole answer, microseconds."""

    @property
    def ttft_us(self) -> int | None:
        """Time to the first token, microseconds; None = none was seen."""

class _Scope(Protocol):
    """What ``Gate.identify`` looks at. ``client`` is ``ip:port``."""

    client: str

RefusalCount = tuple[int, int, int, int]
"""Refusals of a known key: (Unix minute, key id, errors.Code, count)."""

@final
class ManualClock:
    """A clock that stands still until it is moved. Tests only."""

    def __new__(cls, boot_us: int = 1_000_000, wall_ms: int = 1_767_225_600_000) -> ManualClock: ...
    def advance(self, us: int) -> None:
        """Move both clocks forward by ``us``."""

    def set_wall(self, wall_ms: int) -> None:
        """Step the wall clock (also backwards); the boot clock stays."""

@final
class Identity:
    """The identity of a scope: ids of the store, name, and the last four characters of a key."""

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
    """What a scope has left, at one instant. None = unlimited."""

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
    """What a host may spend of a limit that it shares with other hosts, and has spent: one look.

    ``claimed``, ``returned`` and ``granted`` of a rate are tokens since the arena was made;
    none ever falls. Unspent is ``granted - claimed``; below zero it is debt. For money ``claimed``
    is the nano-USD committed, and ``granted`` the nano-USD granted, in the window that begins on
    ``first_day``.
    """

    @property
    def claimed(self) -> int: ...
    @property
    def returned(self) -> int:
        """Refunds, roll-backs and withdrawals: to be credited by the bank, not spendable here.
        Money: 0.
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
        """The policy's limit a minute, or its cap; None = unlimited, which needs no lease."""

    @property
    def burst(self) -> int | None:
        """The policy's burst; None for money, and where there is no limit."""

    @property
    def version(self) -> int:
        """Of the policy that ``limit`` and ``burst`` are from."""

@final
class Refusal:
    """Why ``admit`` said no, with what the answer needs. Nothing was consumed at any level."""

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
    """One bucket, for tests and benchmarks: ``limit`` a period, up to ``burst`` at once.

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
        """Microseconds until ``n`` tokens fit if nobody else takes any; None = they never do."""

    def full_us(self, now_us: int) -> int:
        """Microseconds until the bucket is full if nobody takes any; 0 for a limit of 0."""

@final
class Arena:
    """All scopes of a host: digest table, records, meters, allow-lists, prices.

    Writers of policy must be one at a time across processes (``snapshot`` holds the file lock);
    readers need nothing.
    """

    @staticmethod
    def private(capacity: int) -> Arena:
        """In private memory, for one process."""

    @staticmethod
    def create(path: str, capacity: int, identity: bytes) -> Arena:
        """A new file at ``path`` (replaced by rename when ``publish`` is called). ``identity``: 32
        bytes (boot, peppers, data directory).

        OSError when there is no room: every page is allocated before it is touched.
        """

    @staticmethod
    def open(path: str, identity: bytes) -> Arena:
        """Map an existing arena. FileNotFoundError; ValueError when layout, size or identity
        differ.
        """

    def publish(self, path: str) -> None:
        """Rename the file to ``path`` and mark it complete; ``open`` refuses an arena that was not
        published.
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
        """Write one policy if its version is newer than the record's; answer the scope's index. All
        owners must be there already.

        A changed budget duration freezes the money word until ``recount``. A changed rate keeps
        what was used. ValueError: bad field. MemoryError: capacity or allow-list heap full.
        OSError: no room on the file system.
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
        """Index of a scope: a key by its digest, other kinds by id."""

    def identity(self, index: int) -> Identity: ...
    def meters(self, index: int, boot_us: int | None = None, wall_ms: int | None = None) -> Meters:
        """As seen at the given instant (default: now)."""

    def frozen(self) -> list[int]:
        """Indices of scopes whose money word waits for a recount."""

    def roll_over(self, wall_ms: int | None = None) -> None:
        """Bring the words of idle scopes up to date.

        The drainer calls it every few minutes, since words count on rings.
        """

    def window(self, index: int, wall_ms: int) -> tuple[int, int]:
        """First day and day after the last (days since 1970-01-01 UTC) of the budget window in
        which ``wall_ms`` lies.

        If the wall clock was set back, it is the later window that the money word is in already.
        """

    def recount(
        self, index: int, first_day: int, ledger_nano: int, journals: Sequence[Journal]
    ) -> bool:
        """Set the money word to ``ledger_nano`` (rows in the store of the window that begins on
        ``first_day``, as ``window`` answered) + every slot of ``journals`` that is not freed.

        All journals of the host must be given, and no row may move meanwhile: only the drainer
        calls it. False: a live worker stood in transition for too long, or the window turned; the
        word stays as it was (too high, never too low): come back.
        """

    def charge_past(self, index: int, rate: int, admitted: int) -> None:
        """Take from a new bucket what its scope admitted in the last period of the rate.

        ``rate`` is a place in ``RATES``; ``admitted`` counts requests or tokens, as the rate does.
        The bucket is not charged beyond its burst, and never goes into debt. Without a limit, and
        where hosts share limits, nothing changes. ValueError: no such scope or rate.
        """

    @property
    def clustered(self) -> bool:
        """True if limits are shared with other hosts: nothing is admitted against a limit that was
        not granted.
        """

    @clustered.setter
    def clustered(self, clustered: bool) -> None:
        """ValueError once the arena has scopes. True also fences the host, until ``admit_until_us``
        is set.
        """

    @property
    def admit_until_us(self) -> int:
        """Boot clock until which this host may admit, 0 = for ever. Only heeded while
        ``clustered``.
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
        """(index, resource) of all leases that were granted and are not void, for an agent that
        takes over.
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
        """Take back up to ``most`` of what is unspent; the answer is certain: no request can spend
        it.

        Of a rate it is claimed and counted as returned. Of money ``granted`` falls by it.
        """

    def void(self, index: int, resource: int) -> int:
        """The lease is over: claim what is unspent, which is lost. To be called before a new lease
        is granted.
        """

    def deny(self, index: int, resource: int, need: int, until_us: int, fits_us: int = 0) -> None:
        """Until then, refuse at once what lacks ``need`` units or more. ``until_us`` 0: nothing.

        ``need`` is best what the bank had left, plus one: of money, the refusal then tells the true
        spend. ``fits_us``: when ``need`` units are there if nobody else takes any, for Retry-After;
        it may lie after ``until_us``. A grant and a policy write clear it.
        """

    def take_demand(self, limit: int = 256) -> list[tuple[int, int, int]]:
        """Take out (index, resource, need): a request of ``need`` met a short lease.

        A need of 0 says that the lease is at low water. A demand may come twice; one that is lost
        comes again.
        """

@final
class Journal:
    """One worker's slots, from admission until they are in the ledger. The file is locked by its
    worker; the lock dies with it.
    """

    @staticmethod
    def private(slots: int = 1024, upstreams: Sequence[str] = ...) -> Journal: ...
    @staticmethod
    def create(directory: str, slots: int, upstreams: Sequence[str]) -> Journal:
        """A new locked file ``<journal_id as 16 hex>.journal``, fully allocated.

        OSError when there is no room.
        """

    @staticmethod
    def open(path: str) -> Journal:
        """Map a file as the drainer. ValueError: foreign or torn header, or an id above 63 bits."""

    @property
    def journal_id(self) -> int:
        """Random 63-bit id."""

    @property
    def path(self) -> str | None: ...
    @property
    def upstreams(self) -> list[str]: ...
    @property
    def slots(self) -> int: ...
    @property
    def free_slots(self) -> int: ...
    def lock_if_dead(self) -> bool:
        """Take the lock of a dead worker's file; False while its worker lives. Idempotent."""

    def recover(self) -> list[int]:
        """Only after ``lock_if_dead``: end what the dead worker left (outcome RECOVERED, charged as
        reserved) and list the scope indices to recount.
        """

    def deferred(self) -> list[int]:
        """Scope indices to recount because a settlement met a frozen word."""

    def finish_deferred(self) -> None:
        """After those recounts succeeded: their slots become rows. Counts only slots that the last
        ``deferred`` listed.
        """

    def rows(self, limit: int = 1000) -> list[Row]:
        """List up to ``limit`` ended tickets, lowest slot first; they stay until ``free``.

        Tickets that ``unfit`` lists are left out.
        """

    def unfit(self, limit: int = 1000) -> list[Row]:
        """List up to ``limit`` ended tickets with a number that the ledger cannot hold.

        Only a corrupt file has such. Its numbers may have 64 bits.
        """

    def free(self, slots: Sequence[int]) -> None:
        """Give slots back after the store's commit."""

    def take_refusal_counts(self, before_minute: int) -> list[RefusalCount]:
        """Take out the refusal counts of minutes before ``before_minute``."""

    def counters(self) -> dict[str, int]:
        """Cumulative: admitted, settled, tallies_dropped, and refused_<code name> for each
        errors.Code of the gate.
        """

@final
class Gate:
    """The decision: identify, admit, settle. One per worker; all workers of a host share the arena.

    ``peppers``: up to two (id, 32 bytes), the current one first.
    """

    def __new__(
        cls,
        arena: Arena,
        journal: Journal,
        peppers: Sequence[tuple[int, bytes]],
        clock: ManualClock | None = None,
    ) -> Gate: ...
    @property
    def arena(self) -> Arena: ...
    @property
    def journal(self) -> Journal: ...
    def identify(
        self, authorization: str | bytes | None, client: str | _Scope, endpoint: int
    ) -> int:
        """Index (>= 0) of the live key that the header's value names and that may call ``endpoint``
        from ``client``; else -errors.Code.

        ``client`` is an address, or a request that is asked for its own where the key has an
        allow-list. Needs no body. A refusal of a known key is tallied.
        """

    def admit(
        self,
        index: int,
        model: str,
        endpoint: int,
        upstream: int,
        prompt_bytes: int,
        max_tokens: int,
        choices: int,
        stream: bool,
        stored_input: int = 0,
    ) -> int | Refusal:
        """Reserve one request, ceil(prompt_bytes / 4) + choices * max_tokens tokens and their price
        at every level, or nothing.

        ``max_tokens`` -1: the model's default; embeddings and moderations reserve the prompt only;
        images ``choices`` request prices,
        and tokens where output has a price. ``stored_input``: tokens that the provider may add to
        the prompt, for which money alone is reserved. Reads the status again: a key revoked since
        ``identify`` is refused. The ticket (>= 0) must be settled once.
        """

    def settle(
        self,
        ticket: int,
        input: int,
        cached: int,
        output: int,
        status: int,
        outcome: int,
        latency_us: int,
        ttft_us: int,
    ) -> int:
        """End a ticket with the upstream's true usage; answer its cost in nano-USD, -1 where the
        model has no price.

        Outcome OK, or any token: charged by tokens plus the request price (for images: once per
        choice). Otherwise nothing was produced: tokens and money go back whole, the request stays
        counted. ``ttft_us`` -1: no token was seen. TicketError: ended before, or never existed;
        nothing changes.
        """

    def may_use(self, index: int, model: str) -> bool:
        """True if the key's and its team's allow-lists allow ``model``."""

    def rate_headers(self, index: int) -> list[tuple[str, str]]:
        """OpenAI's x-ratelimit-* pairs of the tightest level, as of now; a resource without any
        limit is left out.
        """

    def request_id(self, ticket: int) -> str:
        """``req_`` + 32 hex digits: journal_id and seq of the ticket.

        Give -1 for a request that has no ticket: a fresh number is drawn.
        """

    def recorded(self, ticket: int) -> bool:
        """True once the settled ticket's row is in the store (its slot was freed)."""

    def reserved(self, ticket: int) -> tuple[int, int]:
        """Tokens of input (estimate) and of output that the ticket reserved."""

    def now_us(self) -> int:
        """The boot clock, microseconds: what latencies are measured with."""

@final
class Peek:
    """The few fields of a body that a decision needs."""

    @property
    def model(self) -> str: ...
    @property
    def stream(self) -> bool: ...
    @property
    def output(self) -> int:
        """The most tokens a choice may produce, as the client says; -1 = it does not say."""

    @property
    def choices(self) -> int:
        """How many answers, or images, are asked for."""

    def with_usage(self, body: bytes) -> bytes | None:
        """Return the body that asks for a usage chunk at the stream's end, all other bytes as they
        are; None where the stream ends with one, or cannot.
        """

Whole = tuple[int, list[Any], bytes]
"""A whole answer: status, headers and body. Headers are pairs of str, on ASGI of bytes."""

@final
class Guard:
    """Tells which requests of a wrapped app need a key: those at or below one of ``roots``, less
    the root path and in whatever spelling a framework may read the path. ValueError: a root does
    not begin with a slash.
    """

    def __new__(cls, roots: list[str]) -> Guard: ...
    def __call__(self, scope: object) -> bool:
        """Judge an RSGI or ASGI scope."""

@final
class Proxies:
    """Blocks of addresses whose ``X-Forwarded-For`` is believed. ValueError: one is no block."""

    def __new__(cls, blocks: list[str]) -> Proxies: ...
    def __contains__(self, address: str, /) -> bool: ...
    def source(self, peer: str, forwarded: Sequence[str | bytes]) -> str | None:
        """Find the address that a request comes from: the peer's, or, if that is a trusted proxy,
        the nearest hop that is none. None where it cannot be known. ``forwarded``: the header's
        values in their order.
        """

@final
class Routes:
    """Which upstream serves a model: exact names first, then the longest prefix. ``table``: the
    patterns of each upstream.
    """

    def __new__(cls, table: list[list[str]]) -> Routes: ...
    def resolve(self, model: str) -> int | None:
        """Find the number of the upstream. Nobody serves a name that holds a key."""

@final
class Resource:
    """A resource of the gateway that is no model call."""

    @property
    def name(self) -> str:
        """``models``, ``model``, ``health``, ``ready``, ``metrics`` or ``elsewhere``."""

    @property
    def model(self) -> str | None:
        """The id of the model, for ``model``."""

@final
class Worker:
    """The request path of one worker: a gate, and what the settings say of it.

    ``echo`` is the number of the built-in upstream. ``guard`` says what needs a key in front of a
    wrapped app; without one the worker is the whole gateway.
    """

    def __new__(
        cls,
        gate: Gate,
        *,
        routes: Routes,
        echo: int | None,
        guard: Guard | None,
        trusted_proxies: list[str],
        max_body: int,
        max_headers: int,
        ietf: bool,
    ) -> Worker: ...
    def open(self, scope: object) -> Exchange | Whole | Resource | None:
        """Judge a request by its head, an RSGI or ASGI scope: an exchange whose body comes next, a
        refusal, a resource of the gateway, or (None) a path that nobody guards.
        """

    def identify(self, scope: object) -> int | Whole:
        """Find the index of the live key that a request carries, for a resource that costs nothing;
        or the refusal.
        """

    def refuse(self, code: int, message: str | None = None, *, asgi: bool = False) -> Whole:
        """Answer with an error of the catalogue, which cost nothing."""

    def free(self, body: bytes, *, asgi: bool) -> Whole:
        """Answer with JSON that took no ticket."""

@final
class Wait:
    """Admission has to wait: a policy is being written, a money word recounted, or a share of a
    limit asked for.
    """

    @property
    def seconds(self) -> float: ...
    @property
    def bell(self) -> bool:
        """True if the host's agent is to be called first."""

@final
class Exchange:
    """One request from its head to its end. It settles once, at the latest when it is freed."""

    @property
    def wants_body(self) -> bool:
        """False for a guarded request that is no model call: its body is the app's."""

    @property
    def counted(self) -> bool:
        """True if the body is to be counted as it comes: it is large, or of unknown length."""

    @property
    def body(self) -> bytes | None:
        """What goes upstream: the client's body, asking for usage where it is a stream."""

    @property
    def passed_on(self) -> list[tuple[str, str]]:
        """The client's headers that reach an upstream."""

    @property
    def request_id(self) -> str: ...
    @property
    def index(self) -> int:
        """The key's index in the arena."""

    @property
    def endpoint(self) -> int: ...
    @property
    def route(self) -> int:
        """The number of the upstream that serves the model."""

    @property
    def stream(self) -> bool:
        """True if the client asked for a stream."""

    @property
    def ended(self) -> bool:
        """True once the request is settled."""

    @property
    def recorded(self) -> bool:
        """True if no row of the request is missing in the ledger."""

    def admit(self, body: bytes | None) -> Whole | Wait | None:
        """Take in the body and admit the request: an answer, a pause after which to call again
        (with None), or None where an upstream is to answer.
        """

    def whole(
        self,
        status: int,
        headers: Sequence[tuple[Any, Any]],
        body: bytes,
        usage: tuple[int, int, int] | None = None,
    ) -> Whole:
        """Take in an upstream's or app's whole answer, and settle; what to send. ``usage``: what
        is told beside the body.
        """

    def begin(self, status: int, headers: Sequence[tuple[Any, Any]]) -> tuple[int, list[Any], None]:
        """Take in the head of an answer in pieces; status and headers to send."""

    def begin_events(
        self, status: int, headers: Sequence[tuple[Any, Any]]
    ) -> tuple[int, list[Any], None] | None:
        """``begin`` if the head is an event stream's, else nothing."""

    def chunk(self, chunk: bytes | _Foreign) -> bytes:
        """What the client gets for a piece of the answer; nothing while an event is not whole."""

    def end(self, end: int) -> Whole | bytes | None:
        """End the exchange, unless it has ended: 0 the answer is complete, 1 the upstream failed, 2
        it was late, 3 the client left, 4 a fault of ours. What is still to be sent: a whole answer
        where none began, the last bytes of one that did, or None: break it off.
        """

    def report(self, input: int, cached: int, output: int) -> bool:
        """Count usage that a wrapped app reports. False if the exchange has ended."""

class _Foreign(Protocol):
    """Bytes that a library keeps."""

    def to_bytes(self) -> bytes: ...

@final
class Usage:
    """Tokens that an answer used, as its provider tells them, read whole. A part that is not told
    is 0; None stands for a whole that is not told, or that cannot be true.
    """

    @property
    def input(self) -> int | None:
        """All tokens of input, those from and into a cache included."""

    @property
    def cached(self) -> int:
        """Tokens of input read from a cache."""

    @property
    def cache_write(self) -> int:
        """Tokens of input written to a cache, of whatever life."""

    @property
    def cache_write_1h(self) -> int:
        """Of these, tokens written to a cache that lives for an hour."""

    @property
    def audio_input(self) -> int: ...
    @property
    def image_input(self) -> int: ...
    @property
    def output(self) -> int | None:
        """All tokens of output, those of reasoning included."""

    @property
    def reasoning(self) -> int: ...
    @property
    def audio_output(self) -> int: ...
    @property
    def image_output(self) -> int: ...
    @property
    def total(self) -> int | None:
        """Input and output together."""

    @property
    def searches(self) -> int:
        """Searches in the web."""

    @property
    def cost(self) -> int | None:
        """What the provider says the answer cost, in nano-USD."""

    @property
    def doubtful(self) -> bool:
        """True if a number could not be true, and was left out or cut."""

@final
class Scanner:
    """Scan server-sent events on their way to a client: find usage, count produced text, drop or
    mark the usage chunk. Call ``feed`` with every chunk and pass on its result, then ``flush``.

    Chunks may break anywhere; only whole events are passed on. An event longer than 8 MiB passes as
    it comes. The last usage chunk is held back until the stream ends or produces more text; then
    ``bill`` is called with its usage, once in a stream, and the cost in USD that it returns is
    written into that chunk. With ``strip`` the client gets no usage chunks.
    """

    def __new__(cls, bill: Callable[[Usage], str | None], *, strip: bool) -> Scanner: ...
    def feed(self, chunk: bytes) -> bytes:
        """Return the events that are whole with this chunk, as the client shall see them; the
        chunk itself, where it may pass as it is.
        """

    def flush(self) -> bytes:
        """End the stream. Return what is left: events that were held back, and one that lacks its
        empty line.
        """

    def abort(self) -> bytes:
        """End a stream that its provider broke off. Return the events that were held back."""

    @property
    def usage(self) -> Usage | None:
        """The last usage that was told."""

    @property
    def produced(self) -> int:
        """Bytes of produced text: of the members that carry text, never of JSON around them."""

    @property
    def outran(self) -> bool:
        """True if text was produced after the last usage was told."""

    @property
    def done(self) -> bool:
        """True once the stream's last event came."""

    @property
    def failed(self) -> bool:
        """True if an event says that the answer failed, or the stream ended without an event."""

def read_answer(body: bytes) -> tuple[Usage | None, int, bool] | None:
    """Read a whole answer: its usage, bytes of its text, and whether it is an error. None if it is
    no JSON object.
    """

def peek(body: bytes, endpoint: int) -> Peek | tuple[int, str | None]:
    """The fields of a JSON body; or the errors.Code of what is wrong with it, and a message that
    names the field.

    A field that counts and is given twice, in whatever spelling, is wrong: two parsers could read
    it differently.
    """

def problem(code: int, message: str | None = None, *, asgi: bool = False) -> Whole:
    """Return an answer of the catalogue without a request's id."""

def catalogue() -> list[tuple[int, int, str, str, str]]:
    """Return the catalogue of refusals: number, status, type, code and message of each."""

def is_events(content_type: str) -> bool:
    """Tell whether a media type is an event stream's, in whatever case and with parameters."""

def looks_like_events(begin: bytes) -> bool:
    """Tell whether an answer without a media type begins as an event stream does."""

def no_such_model(name: str) -> str:
    """Say that nobody serves a model. A key in the place of a name is not repeated."""

def hash_key(key: str | bytes, pepper: bytes) -> bytes:
    """Keyed BLAKE3 of a whole key under a 32-byte pepper."""

def parse_key(authorization: str | bytes) -> str | None:
    """The key in an Authorization value, or None if it is not exactly one well-formed ``Bearer
    sk-nemo-…``.
    """

def echo_chat(body: bytes, identity: str) -> tuple[bytes, int, int] | None:
    """What ``upstream.echo`` answers to a conversation of plain text, with its tokens of input and
    output; None where only ``upstream.echo`` knows. ``identity``: of the completion, without its
    prefix.
    """

def watch_for_end(masters: list[int], limit_s: float, grace_s: float) -> int:
    """Bound the life of this process: it is killed ``limit_s`` seconds after the first SIGTERM, or
    ``grace_s`` seconds after the end of one of the processes ``masters``.

    Returns a descriptor from which ``b"T"`` is read for SIGTERM and ``b"P"`` for the end of a
    master, each at most once. SIGTERM must be blocked in all threads. ValueError: a number that no
    process can have, or no length of time. OSError: the kernel refused.
    """

def set_process_name(name: str) -> None:
    """Set the name of the calling thread, of at most 15 bytes; of the main thread it is the name of
    the process in ``ps``.
    """

def set_time_slice(microseconds: int) -> None:
    """Ask the kernel for a time slice of this length for the calling thread, and for those that it
    will make.

    Who asks for less than others runs sooner when woken (Linux 6.12; before that nothing changes).
    OSError: it refused.
    """
