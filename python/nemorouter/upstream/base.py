"""What an upstream is to the request path. A leaf."""

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
    """One call. ``path`` is one of our own (``/chat/completions``); ``headers`` passed the
    allow-list; ``stream``: the client asks for a streamed answer.
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
    """A streamed answer's body. While it is entered it is read; leaving it ends the call, and
    raises what went wrong upstream as UpstreamFailedError or UpstreamTimeoutError.
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
    """What came back: whole (``body``) or streamed (``chunks``).

    ``usage`` is set where the upstream tells it beside the body; otherwise it has to be read from
    the body.
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
        """For an upstream that never waits, so that nobody need watch for the client's leaving: its
        answer to endpoint, body and request id.
        """

    async def send(self, request: Request) -> Answer:
        """Raise UpstreamFailedError or UpstreamTimeoutError where no answer came."""

    async def close(self) -> None: ...
