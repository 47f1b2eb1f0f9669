"""Describe the exchange: one request from its head to its end, and what a worker knows for it."""

from collections.abc import Sequence
from typing import Any, Protocol, final

from nemorouter._stubs.gate import Gate

class _Foreign(Protocol):
    """Describe bytes that a library keeps."""

    def to_bytes(self) -> bytes: ...

Whole = tuple[int, list[Any], bytes]
"""A whole answer: status, headers and body. Headers are pairs of str, on ASGI of bytes."""

@final
class Guard:
    """Tell which requests of a wrapped app need a key.

    They are those at or below one of ``roots``, less the root path and in whatever spelling a
    framework may read the path. ValueError: a root does not begin with a slash.
    """

    def __new__(cls, roots: list[str]) -> Guard: ...
    def __call__(self, scope: object) -> bool:
        """Judge an RSGI or ASGI scope."""

@final
class Proxies:
    """Hold the blocks of addresses whose ``X-Forwarded-For`` is believed.

    ValueError: one is no block.
    """

    def __new__(cls, blocks: list[str]) -> Proxies: ...
    def __contains__(self, address: str, /) -> bool: ...
    def source(self, peer: str, forwarded: Sequence[str | bytes]) -> str | None:
        """Find the address that a request comes from.

        It is the peer's, or, if that is a trusted proxy, the nearest hop that is none. None where
        it cannot be known. ``forwarded``: the header's values in their order.
        """

@final
class Routes:
    """Find the upstream that serves a model: exact names first, then the longest prefix.

    ``table``: the patterns of each upstream.
    """

    def __new__(cls, table: list[list[str]]) -> Routes: ...
    def resolve(self, model: str) -> int | None:
        """Find the number of the upstream. Nobody serves a name that holds a key."""

@final
class Resource:
    """Name a resource of the gateway that is no model call."""

    @property
    def name(self) -> str:
        """``models``, ``model``, ``health``, ``ready``, ``metrics`` or ``elsewhere``."""

    @property
    def model(self) -> str | None:
        """The id of the model, for ``model``."""

@final
class Worker:
    """Hold the request path of one worker: a gate, and what the settings say of it.

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
        """Judge a request by its head, an RSGI or ASGI scope.

        The result is an exchange whose body comes next, a refusal, a resource of the gateway, or
        (None) a path that nobody guards.
        """

    def identify(self, scope: object) -> int | Whole:
        """Find the index of the live key of a request for a resource that costs nothing.

        Otherwise the result is the refusal.
        """

    def refuse(self, code: int, message: str | None = None, *, asgi: bool = False) -> Whole:
        """Answer with an error of the catalogue, which cost nothing."""

    def free(self, body: bytes, *, asgi: bool) -> Whole:
        """Answer with JSON that took no ticket."""

@final
class Wait:
    """Say that admission has to wait.

    A policy is being written, a money word recounted, or a part of a limit asked for.
    """

    @property
    def seconds(self) -> float: ...
    @property
    def bell(self) -> bool:
        """True if the host's agent is to be called first."""

@final
class Exchange:
    """Hold one request from its head to its end.

    It settles once, at the latest when it is freed.
    """

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
        """Take in the body and admit the request.

        The result is an answer, a pause after which to call again (with None), or None where an
        upstream is to answer.
        """

    def whole(
        self,
        status: int,
        headers: Sequence[tuple[Any, Any]],
        body: bytes,
        usage: tuple[int, int, int] | None = None,
    ) -> Whole:
        """Take in an upstream's or app's whole answer, and settle; return what to send.

        ``usage``: what is told beside the body.
        """

    def begin(self, status: int, headers: Sequence[tuple[Any, Any]]) -> tuple[int, list[Any], None]:
        """Take in the head of an answer in pieces; return status and headers to send."""

    def begin_events(
        self, status: int, headers: Sequence[tuple[Any, Any]]
    ) -> tuple[int, list[Any], None] | None:
        """Do as ``begin`` if the head is an event stream's; else return None."""

    def chunk(self, chunk: bytes | _Foreign) -> bytes:
        """Return what the client gets for a piece of the answer.

        It is empty while an event is not whole.
        """

    def end(self, end: int) -> Whole | bytes | None:
        """End the exchange, unless it has ended; return what is still to be sent.

        ``end``: 0 the answer is complete, 1 the upstream failed, 2 it was late, 3 the client left,
        4 a fault of ours. The result is a whole answer where none began, the last bytes of one that
        did, or None: break it off.
        """

    def report(self, input: int, cached: int, output: int) -> bool:
        """Count usage that a wrapped app reports. False if the exchange has ended."""
