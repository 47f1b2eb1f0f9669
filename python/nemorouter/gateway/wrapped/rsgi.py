"""A wrapped RSGI app in the place of an upstream. It finds ``scope.state["nemorouter"]``."""

from collections.abc import AsyncIterator, Awaitable
from typing import Any, Final, Protocol

from nemorouter._core import CREDENTIAL_HEADERS, Arena, Exchange
from nemorouter.gateway.driver import BROKEN, WHOLE, send_or_gone
from nemorouter.gateway.wire import (
    AppFailedError,
    ClientGoneError,
    Connection,
    HeaderList,
    Headers,
    Scope,
    Transport,
)
from nemorouter.gateway.wrapped.caller import Caller

_CREDENTIALS: Final = frozenset(CREDENTIAL_HEADERS)
_CALL: Final = _CREDENTIALS | {"accept-encoding"}


class RsgiApp(Protocol):
    """What Granian calls."""

    async def __rsgi__(self, scope: object, protocol: object) -> None: ...


class WrappedRsgi:
    """Lets a wrapped RSGI app answer admitted requests."""

    def __init__(self, app: RsgiApp, arena: Arena) -> None:
        self._app = app
        self._arena = arena

    async def __call__(self, exchange: Exchange, scope: Scope, connection: Connection) -> None:
        """Run the app, and settle. A stream has no other end than the app's return; what its last
        event lacks is not sent any more.
        """
        answering = _Answering(exchange, connection)
        try:
            await self._app.__rsgi__(_Scope(scope, exchange, self._arena), answering)
        except ClientGoneError:
            raise
        except Exception as error:
            if not answering.begun:
                raise
            exchange.end(BROKEN)
            raise AppFailedError(error) from error
        exchange.end(WHOLE)


class _Headers:
    """Request headers without those that the app shall not see."""

    def __init__(self, headers: Headers, hidden: frozenset[str]) -> None:
        self._headers: Any = headers
        self._hidden = hidden

    def get(self, key: str, default: str | None = None) -> str | None:
        value: str | None = default if key in self._hidden else self._headers.get(key, default)
        return value

    def get_all(self, key: str) -> list[str]:
        return [] if key in self._hidden else self._headers.get_all(key)

    def items(self) -> list[tuple[str, str]]:
        return [pair for pair in self._headers.items() if pair[0] not in self._hidden]

    def keys(self) -> list[str]:
        return [key for key in self._headers.keys() if key not in self._hidden]  # noqa: SIM118 - no mapping

    def values(self) -> list[str]:
        return [value for _, value in self.items()]

    def __contains__(self, key: str) -> bool:
        return key not in self._hidden and key in self._headers

    def __len__(self) -> int:
        return len(self.keys())


class _Scope:
    """The request's scope with ``state`` beside it."""

    def __init__(self, scope: Scope, exchange: Exchange, arena: Arena) -> None:
        self._scope = scope
        self.headers = _Headers(scope.headers, _CALL if exchange.wants_body else _CREDENTIALS)
        self.state = {"nemorouter": Caller(exchange, arena)}

    def __getattr__(self, name: str) -> object:
        return getattr(self._scope, name)


class _Answering:
    """The connection as the app sees it: the body that was read, and answers with our headers."""

    def __init__(self, exchange: Exchange, connection: Connection) -> None:
        self._exchange = exchange
        self._connection: Any = connection
        self.begun = False

    def __call__(self) -> Awaitable[bytes]:
        body = self._exchange.body
        return self._connection() if body is None else _ready(body)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        body = self._exchange.body
        if body is not None:
            yield body
            return
        async for chunk in self._connection:
            yield chunk

    def client_disconnect(self) -> Awaitable[None]:
        gone: Awaitable[None] = self._connection.client_disconnect()
        return gone

    def response_empty(self, status: int, headers: HeaderList) -> None:
        status, headers, _ = self._whole(status, headers, b"")
        self._connection.response_empty(status, headers)

    def response_str(self, status: int, headers: HeaderList, body: str) -> None:
        self.response_bytes(status, headers, body.encode())

    def response_bytes(self, status: int, headers: HeaderList, body: bytes) -> None:
        self._connection.response_bytes(*self._whole(status, headers, bytes(body)))

    def response_file(self, status: int, headers: HeaderList, file: str) -> None:
        status, headers, _ = self._whole(status, headers, b"")
        self._connection.response_file(status, headers, file)

    def response_file_range(
        self, status: int, headers: HeaderList, file: str, start: int, end: int
    ) -> None:
        status, headers, _ = self._whole(status, headers, b"")
        self._connection.response_file_range(status, headers, file, start, end)

    def response_stream(self, status: int, headers: HeaderList) -> Transport:
        begun = self._exchange.begin(status, headers)
        assert begun is not None  # noqa: S101 - it is, unless only events are wanted
        self.begun = True
        return _Transport(self._exchange, self._connection.response_stream(begun[0], begun[1]))

    def _whole(
        self, status: int, headers: HeaderList, body: bytes
    ) -> tuple[int, HeaderList, bytes]:
        self.begun = True
        return self._exchange.whole(status, headers, body)


class _Transport:
    """A stream of the app on its way to the client."""

    def __init__(self, exchange: Exchange, transport: Transport) -> None:
        self._exchange = exchange
        self._transport = transport

    async def send_bytes(self, data: bytes) -> None:
        shown = self._exchange.chunk(data)
        if shown:
            await send_or_gone(self._transport.send_bytes, shown)

    async def send_str(self, data: str) -> None:
        await self.send_bytes(data.encode())


async def _ready(body: bytes) -> bytes:
    return body
