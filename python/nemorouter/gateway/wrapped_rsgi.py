"""A wrapped RSGI app in the place of an upstream, as in ``wrapped``. It finds
``scope.state["nemorouter"]``.
"""

from collections.abc import AsyncIterator, Awaitable
from typing import Any, Protocol

from nemorouter._core import Call
from nemorouter.gateway.observe import Caller, Observed
from nemorouter.gateway.peek import NO_MODEL
from nemorouter.gateway.settle import answer_headers
from nemorouter.gateway.wire import (
    ClientGoneError,
    Connection,
    HeaderList,
    Headers,
    Scope,
    Transport,
)
from nemorouter.types import Outcome


class RsgiApp(Protocol):
    """What Granian calls."""

    async def __rsgi__(self, scope: object, protocol: object) -> None: ...


class WrappedRsgi:
    """Lets a wrapped RSGI app answer admitted calls."""

    def __init__(self, *, ietf_headers: bool) -> None:
        self._ietf = ietf_headers

    async def __call__(
        self, app: "RsgiApp", call: Call, scope: Scope, connection: Connection
    ) -> None:
        """Run the app and settle the call."""
        answering = _Answering(call, connection, ietf=self._ietf)
        try:
            await app.__rsgi__(_Scope(scope, Caller(call)), answering)
        finally:
            answering.tell()
        answering.finish()


class _Headers:
    """Request headers without the client's credential."""

    def __init__(self, headers: Headers) -> None:
        self._headers: Any = headers

    def get(self, key: str, default: str | None = None) -> str | None:
        value: str | None = default if key == "authorization" else self._headers.get(key, default)
        return value

    def get_all(self, key: str) -> list[str]:
        return [] if key == "authorization" else self._headers.get_all(key)

    def items(self) -> list[tuple[str, str]]:
        return [pair for pair in self._headers.items() if pair[0] != "authorization"]

    def keys(self) -> list[str]:
        return [key for key in self._headers.keys() if key != "authorization"]  # noqa: SIM118 - no mapping

    def values(self) -> list[str]:
        return [value for _, value in self.items()]

    def __contains__(self, key: str) -> bool:
        return key != "authorization" and key in self._headers


class _Scope:
    """The request's scope with ``state`` beside it."""

    def __init__(self, scope: Scope, caller: Caller) -> None:
        self._scope = scope
        self.headers = _Headers(scope.headers)
        self.state = {"nemorouter": caller}

    def __getattr__(self, name: str) -> object:
        return getattr(self._scope, name)


class _Answering:
    """The connection as the app sees it: the body that was read, and answers with our headers."""

    def __init__(self, call: Call, connection: Connection, *, ietf: bool) -> None:
        self._call = call
        self._connection: Any = connection
        self._ietf = ietf
        self._observed: Observed | None = None

    def __call__(self) -> Awaitable[bytes]:
        return self._connection() if self._call.peek is NO_MODEL else _ready(self._call.body)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._call.peek is not NO_MODEL:
            yield self._call.body
            return
        async for chunk in self._connection:
            yield chunk

    def client_disconnect(self) -> Awaitable[None]:
        gone: Awaitable[None] = self._connection.client_disconnect()
        return gone

    def response_empty(self, status: int, headers: HeaderList) -> None:
        self._connection.response_empty(status, self._whole(status, headers, b""))

    def response_str(self, status: int, headers: HeaderList, body: str) -> None:
        self._connection.response_str(status, self._whole(status, headers, body.encode()), body)

    def response_bytes(self, status: int, headers: HeaderList, body: bytes) -> None:
        self._connection.response_bytes(status, self._whole(status, headers, body), body)

    def response_file(self, status: int, headers: HeaderList, file: str) -> None:
        self._connection.response_file(status, self._whole(status, headers, b""), file)

    def response_file_range(
        self, status: int, headers: HeaderList, file: str, start: int, end: int
    ) -> None:
        self._connection.response_file_range(
            status, self._whole(status, headers, b""), file, start, end
        )

    def response_stream(self, status: int, headers: HeaderList) -> Transport:
        self._observed = self._observe(status, headers)
        self._call.status = status
        ours = answer_headers(self._call, headers, ietf=self._ietf)
        return _Transport(self._observed, self._connection.response_stream(status, ours))

    def _observe(self, status: int, headers: HeaderList) -> Observed:
        kind = next((value for name, value in headers if name.lower() == "content-type"), "")
        return Observed(self._call, status, kind)

    def _whole(self, status: int, headers: HeaderList, body: bytes) -> HeaderList:
        """Settle a whole answer; its headers."""
        self._observe(status, headers).whole(body)
        self._call.status = status
        return answer_headers(self._call, headers, ietf=self._ietf)

    def tell(self) -> None:
        """The app returned or failed: its call gets to know what the stream showed."""
        if self._observed is not None:
            self._observed.tell()

    def finish(self) -> None:
        """The app returned. A stream has no other end; what its last event lacks is not sent any
        more.
        """
        if self._observed is not None:
            self._observed.last()
        self._call.end(Outcome.UPSTREAM_ERROR, 0)


class _Transport:
    """A stream of the app on its way to the client."""

    def __init__(self, observed: Observed, transport: Transport) -> None:
        self._observed = observed
        self._transport = transport

    async def send_bytes(self, data: bytes) -> None:
        shown = self._observed.piece(data)
        if not shown:
            return
        try:
            await self._transport.send_bytes(shown)
        except Exception as error:
            raise ClientGoneError from error

    async def send_str(self, data: str) -> None:
        await self.send_bytes(data.encode())


async def _ready(body: bytes) -> bytes:
    return body
