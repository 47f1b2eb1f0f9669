"""The few operations the request path asks of a server, in the shape Granian's RSGI gives them.

RSGI objects are used as they are, so that the cheapest server pays for no adapter; ``asgi`` adapts
ASGI to this.
"""

from collections.abc import AsyncIterator, Awaitable
from typing import Any, Protocol

HeaderList = list[tuple[str, str]]
Whole = tuple[int, HeaderList, bytes]
"""A whole answer: status, headers and body. On ASGI its headers are bytes."""


class Headers(Protocol):
    """Request headers; names are lower case.

    Values with bytes outside ASCII may not be listed; ``keys`` has their names.
    """

    def get(self, key: str) -> str | None: ...
    def get_all(self, key: str) -> list[str]: ...
    def items(self) -> list[tuple[str, str]]: ...
    def keys(self) -> list[str]: ...
    def __len__(self) -> int: ...


class Scope(Protocol):
    """The head of a request, before its body: RSGI's scope.

    On ASGI it is the dictionary that the server gave, which only native code and the wrapped app
    read.
    """

    path: str
    method: str
    client: str
    query_string: str
    http_version: str
    proto: str

    @property
    def headers(self) -> Headers: ...


class Transport(Protocol):
    """A streamed answer's body."""

    def send_bytes(self, data: bytes) -> Awaitable[None]: ...


class Connection(Protocol):
    """One request's two directions: its body, and one answer, whole or streamed."""

    def __call__(self) -> Awaitable[bytes]: ...
    def __aiter__(self) -> AsyncIterator[bytes]: ...
    def client_disconnect(self) -> Awaitable[None]: ...
    def response_bytes(self, status: int, headers: HeaderList, body: bytes) -> None: ...
    def response_stream(self, status: int, headers: HeaderList) -> Transport: ...


class ClientGoneError(Exception):
    """The client closed its connection; nobody is left to answer."""


def is_asgi(scope: Any) -> bool:  # noqa: ANN401 - either server's
    """Return whether ``scope`` is ASGI's dictionary, and not RSGI's scope."""
    return isinstance(scope, dict)
