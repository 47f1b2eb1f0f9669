"""Describe the gate, which identifies, admits and settles, and the peek into a body."""

from collections.abc import Sequence
from typing import Protocol, final

from nemorouter._stubs.arena import Arena
from nemorouter._stubs.journal import Journal
from nemorouter._stubs.views import ManualClock, Refusal

class _Scope(Protocol):
    """Describe a request that ``Gate.identify`` reads. ``client`` is ``ip:port``."""

    client: str

@final
class Gate:
    """Decide: identify, admit, settle. One gate a worker; all workers of a host share the arena.

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
        """Return the index (>= 0) of the live key that may call ``endpoint`` from ``client``.

        Otherwise the result is -errors.Code. ``authorization`` is the header's value. ``client`` is
        an address, or a request that is asked for its own where the key has an allow-list. No body
        is needed. A refusal of a known key is counted by the minute.
        """

    def admit(
        self,
        index: int,
        model: str,
        endpoint: int,
        upstream: int,
        prompt_bytes: int,
        max_tokens: int | None,
        choices: int,
        stream: bool,
        stored_input: int = 0,
    ) -> int | Refusal:
        """Reserve one request, its tokens and their price at every level, or nothing.

        Tokens are ceil(prompt_bytes / 4) + choices * max_tokens; ``max_tokens`` None stands for the
        model's default. Embeddings and moderations reserve the prompt only; images ``choices``
        request prices, and tokens where output has a price. ``stored_input`` counts tokens that the
        provider may add to the prompt, for which money alone is reserved. Reads the status again: a
        key revoked since ``identify`` is refused. The ticket (>= 0) must be settled once.
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
        ttft_us: int | None,
    ) -> int | None:
        """End a ticket with the upstream's true usage; return its cost in nano-USD.

        None: the model has no price. Outcome OK, or any token: charged by tokens plus the request
        price (for images: once per choice). Otherwise nothing was produced: tokens and money go
        back whole, the request stays counted. ``ttft_us`` None: no token was seen. TicketError:
        ended before, or never existed; nothing changes.
        """

    def may_use(self, index: int, model: str) -> bool:
        """Check that the key is live, and that its own and its owners' lists allow ``model``."""

    def rate_headers(self, index: int) -> list[tuple[str, str]]:
        """Return OpenAI's x-ratelimit-* pairs of the tightest level, as of now.

        A resource without any limit is left out.
        """

    def request_id(self, ticket: int | None) -> str:
        """Return ``req_`` + 32 hex digits: journal id and number of the ticket.

        None stands for a request that has no ticket: a fresh number is drawn.
        """

    def recorded(self, ticket: int) -> bool:
        """Check that the settled ticket's row is in the store (its slot was freed)."""

    def reserved(self, ticket: int) -> tuple[int, int]:
        """Return the tokens of input (estimate) and of output that the ticket reserved."""

    def now_us(self) -> int:
        """Read the boot clock in microseconds, with which latencies are measured."""

@final
class Peek:
    """Hold the few fields of a body that a decision needs."""

    @property
    def model(self) -> str: ...
    @property
    def stream(self) -> bool: ...
    @property
    def output(self) -> int | None:
        """The most tokens a choice may produce, as the client says; None = it does not say."""

    @property
    def choices(self) -> int:
        """How many answers, or images, are asked for."""

    def with_usage(self, body: bytes) -> bytes | None:
        """Return the body that asks for a usage chunk at the stream's end, all else as it is.

        None: the stream ends with one as it is, or cannot.
        """
