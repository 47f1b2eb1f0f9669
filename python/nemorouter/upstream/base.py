"""What an upstream is to the request path. A leaf."""

from collections.abc import AsyncIterator, Callable
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
    """One call. ``path`` is one of our own (``/chat/completions``); ``headers`` passed the allow-list; ``stream``: the
    client asks for a streamed answer.
    """

    endpoint: int
    path: str
    body: bytes
    request_id: str
    headers: list[tuple[str, str]] = []
    stream: bool = False


class Answer(msgspec.Struct):
    """What came back: whole (``body``) or streamed (``chunks``, an async generator whose ``aclose`` cancels the call).

    ``usage`` is set where the upstream tells it beside the body; otherwise it has to be read from the body.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    chunks: AsyncIterator[bytes] | None = None
    usage: Usage | None = None


class Upstream(Protocol):
    """A provider. Cancelling the task that waits in ``send`` or on ``chunks`` cancels the call."""

    name: str

    @property
    def instant(self) -> Callable[[int, bytes, str], Answer] | None:
        """For an upstream that never waits, so that nobody need watch for the client's leaving: its answer to endpoint,
        body and request id.
        """

    async def send(self, request: Request) -> Answer:
        """Raise UpstreamFailedError or UpstreamTimeoutError where no answer came."""

    async def close(self) -> None: ...
