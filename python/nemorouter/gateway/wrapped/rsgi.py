"""A wrapped RSGI app in the place of an upstream. It finds ``scope.state["nemorouter"]``."""

from collections.abc import AsyncIterator
from typing import Any, Final

from nemorouter._core import CREDENTIAL_HEADERS, Arena, Exchange
from nemorouter.gateway.driver import WHOLE, send_or_gone
from nemorouter.gateway.wire import ClientGoneError, Connection, HeaderList, Scope, Transport, Whole
from nemorouter.gateway.wrapped.caller import Caller

_CREDENTIALS: Final = frozenset(CREDENTIAL_HEADERS)
_CALL: Final = _CREDENTIALS | {"accept-encoding"}


class WrappedRsgi:
    """Lets a wrapped RSGI app answer admitted requests."""

    def __init__(self, app: Any, arena: Arena) -> None:  # noqa: ANN401 - what Granian calls
        self._app = app
        self._arena = arena

    async def __call__(self, exchange: Exchange, scope: Scope, connection: Connection) -> None:
        """Run the app, and settle. A stream has no other end than the app's return.

        ClientGoneError: the app returned because it noticed that the client had left.
        """
        answering = _RsgiAnswer(exchange, connection)
        await self._app.__rsgi__(_WrappedScope(scope, exchange, self._arena), answering)
        if answering.left:
            raise ClientGoneError
        last = exchange.end(WHOLE)
        if type(last) is bytes and last and answering.transport is not None:
            await send_or_gone(answering.transport.send_bytes, last)


class _Headers:
    """Request headers without those that the app shall not see."""

    def __init__(self, scope: Scope, hidden: frozenset[str]) -> None:
        self._pairs = [pair for pair in scope.headers.items() if pair[0] not in hidden]

    def get(self, key: str, default: str | None = None) -> str | None:
        return next(iter(self.get_all(key)), default)

    def get_all(self, key: str) -> list[str]:
        return [value for name, value in self._pairs if name == key]

    def items(self) -> list[tuple[str, str]]:
        return self._pairs

    def keys(self) -> list[str]:
        return list(dict(self._pairs))

    def values(self) -> list[str]:
        return [value for _, value in self._pairs]

    def __contains__(self, key: str) -> bool:
        return key in dict(self._pairs)

    def __len__(self) -> int:
        return len(dict(self._pairs))


class _WrappedScope:
    """The request's scope with ``state`` beside it."""

    def __init__(self, scope: Scope, exchange: Exchange, arena: Arena) -> None:
        self._scope = scope
        self.headers = _Headers(scope, _CALL if exchange.wants_body else _CREDENTIALS)
        self.state = {"nemorouter": Caller(exchange, arena)}

    def __getattr__(self, name: str) -> object:
        return getattr(self._scope, name)


class _RsgiAnswer:
    """The connection as the app sees it: the body that was read, and answers with our headers."""

    def __init__(self, exchange: Exchange, connection: Connection) -> None:
        self._exchange = exchange
        self._connection: Any = connection
        self.transport: Transport | None = None
        self.left = False
        """The client left before the answer's end, and the app knows it."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - what only the server knows
        return getattr(self._connection, name)

    async def client_disconnect(self) -> None:
        await self._connection.client_disconnect()
        self.left = not self._exchange.ended

    async def __call__(self) -> bytes:
        body = self._exchange.body
        if body is None:
            body = await self._connection()
        return body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._exchange.body is not None:
            yield self._exchange.body
            return
        async for chunk in self._connection:
            yield chunk

    def response_empty(self, status: int, headers: HeaderList) -> None:
        self._connection.response_empty(*self._whole(status, headers)[:2])

    def response_str(self, status: int, headers: HeaderList, body: str) -> None:
        self.response_bytes(status, headers, body.encode())

    def response_bytes(self, status: int, headers: HeaderList, body: bytes) -> None:
        self._connection.response_bytes(*self._whole(status, headers, bytes(body)))

    def response_file(self, status: int, headers: HeaderList, file: str) -> None:
        self._connection.response_file(*self._whole(status, headers)[:2], file)

    def response_file_range(
        self, status: int, headers: HeaderList, file: str, start: int, end: int
    ) -> None:
        whole = self._whole(status, headers)
        self._connection.response_file_range(*whole[:2], file, start, end)

    def response_stream(self, status: int, headers: HeaderList) -> Transport:
        status, headers, _ = self._exchange.begin(status, headers)
        transport: Transport = self._connection.response_stream(status, headers)
        self.transport = transport
        return _Transport(self._exchange, transport)

    def _whole(self, status: int, headers: HeaderList, body: bytes = b"") -> Whole:
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
