"""Define the protocol of an upstream, as the request path uses it. A leaf."""

from collections.abc import Awaitable, Callable, Iterator
from types import TracebackType
from typing import Protocol

import msgspec

from nemorouter.errors import NemoError

Usage = tuple[int, int, int]
"""Tokens of input, of which cached, and of output."""


class UpstreamFailedError(NemoError):
    """The upstream could not be reached, broke off, or sent what is no HTTP answer."""


class UpstreamTimeoutError(UpstreamFailedError):
    """The upstream did not answer in time."""


class Request(msgspec.Struct, gc=False):
    """Describe one call to an upstream.

    ``path`` is one of the gateway's own (``/chat/completions``). ``headers`` holds the client's
    headers that may reach a provider. ``stream`` is true if the client asks for a streamed answer.
    """

    endpoint: int
    path: str
    body: bytes
    request_id: str
    headers: list[tuple[str, str]] = []
    stream: bool = False


class Foreign(Protocol):
    """Bytes that a library keeps."""

    def to_bytes(self) -> bytes: ...


Read = Callable[[], Awaitable[bytes | Foreign | None]]
"""Gives one chunk after the other, then None."""


class Chunks(Protocol):
    """Read the body of a streamed answer within an ``async with`` block.

    Leaving the block ends the call. UpstreamFailedError and UpstreamTimeoutError report what went
    wrong at the upstream.
    """

    async def __aenter__(self) -> Read: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...


class Ready:
    """Chunks that nobody has to wait for."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    async def __aenter__(self) -> Read:
        return self._read

    async def __aexit__(self, *_: object) -> None: ...

    async def _read(self) -> bytes | None:
        return next(self._chunks, None)


class Answer(msgspec.Struct):
    """Hold an upstream's answer: whole (``body``) or streamed (``chunks``).

    ``usage`` is set where the upstream reports it beside the body. Otherwise the caller reads it
    from the body.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    chunks: Chunks | None = None
    usage: Usage | None = None


class Upstream(Protocol):
    """A provider. Cancelling the task that waits in ``send`` or on ``chunks`` cancels the call."""

    name: str

    @property
    def instant(self) -> Callable[[int, bytes, str], Answer] | None:
        """Return the function that answers without waiting, or None.

        The function takes endpoint, body and request id. No caller needs to watch for a client that
        leaves during such an answer.
        """

    async def send(self, request: Request) -> Answer:
        """Raise UpstreamFailedError or UpstreamTimeoutError where no answer came."""

    async def close(self) -> None: ...
