"""A wrapped ASGI app in the place of an upstream."""

from typing import Final

from nemorouter._core import CREDENTIAL_HEADERS, Arena, Exchange
from nemorouter.gateway.asgi import AsgiApp, AsgiRequest, Message, Receive, Send
from nemorouter.gateway.driver import FAILED, WHOLE, recorded, send_or_gone
from nemorouter.gateway.wire import ClientGoneError, Connection, Scope
from nemorouter.gateway.wrapped.caller import Caller

_CREDENTIALS: Final = frozenset(name.encode() for name in CREDENTIAL_HEADERS)
_CALL: Final = _CREDENTIALS | {b"accept-encoding"}
"""Headers that the app of a model call does not see, since we read usage, uncompressed, in it."""
_FILES: Final = ("http.response.pathsend", "http.response.zerocopysend")
"""Messages that carry a whole body which nobody sees."""


class WrappedAsgi:
    """Lets a wrapped ASGI app answer admitted requests."""

    def __init__(self, app: AsgiApp, arena: Arena, *, durable: bool) -> None:
        self._app = app
        self._arena = arena
        self._durable = durable

    async def __call__(self, exchange: Exchange, scope: Scope, connection: Connection) -> None:
        """Run the app, and settle."""
        assert isinstance(connection, AsgiRequest)  # noqa: S101 - NemoAuth passes nothing else
        given, receive, send = connection.raw
        hidden = _CALL if exchange.wants_body else _CREDENTIALS
        headers = [pair for pair in given["headers"] if bytes(pair[0]).lower() not in hidden]
        state = {**given.get("state", {}), "nemorouter": Caller(exchange, self._arena)}
        answering = _AsgiAnswer(exchange, receive, send, durable=self._durable)
        inner = {**given, "headers": headers, "state": state}
        await self._app(inner, answering.receive, answering.send)
        answering.finish()


class _AsgiAnswer:
    """The app's ``receive`` and ``send``."""

    def __init__(self, exchange: Exchange, receive: Receive, send: Send, *, durable: bool) -> None:
        self._exchange = exchange
        self._receive = receive
        self._send = send
        self._durable = durable
        self._replayed = exchange.body is None  # then the body was not read
        self._start: Message | None = None
        self._gone = False
        self._begun = False

    async def receive(self) -> Message:
        """Hand over the body that was read already, then what the client sends."""
        if not self._replayed:
            self._replayed = True
            return {"type": "http.request", "body": self._exchange.body, "more_body": False}
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._exchange.ended:
            self._gone = True
        return message

    async def send(self, message: Message) -> None:
        """Pass a message on.

        The head of an event stream leaves at once. Another head waits for the body's first piece,
        so that a whole answer can carry its cost.
        """
        kind = message["type"]
        if kind == "http.response.start":
            self._start = message
            begun = self._exchange.begin_events(message["status"], _headers(message))
            if begun is not None:
                await self._head(begun)
        elif kind == "http.response.body":
            more = message.get("more_body", False)
            await self._body(bytes(message.get("body", b"")), more=more)
        elif kind in _FILES and self._start is not None:
            start = self._start
            await self._head(self._exchange.whole(start["status"], _headers(start), b""))
            await self._pass(message)
        else:
            await self._begin()
            await self._pass(message)

    async def _body(self, body: bytes, *, more: bool) -> None:
        if self._start is not None and not more:
            start = self._start
            whole = self._exchange.whole(start["status"], _headers(start), body)
            await self._head(whole)
            body = whole[2]
        else:
            await self._begin()
            body = self._exchange.chunk(body) if body else body
            if not more:
                last = self._exchange.end(WHOLE)
                body += last if isinstance(last, bytes) else b""
        await self._pass({"type": "http.response.body", "body": body, "more_body": more})

    async def _begin(self) -> None:
        """Send the head of an answer in pieces, unless it was sent."""
        start = self._start
        if start is not None:
            await self._head(self._exchange.begin(start["status"], _headers(start)))

    async def _head(self, answer: tuple[int, list[tuple[bytes, bytes]], object]) -> None:
        start = self._start
        self._start = None
        self._begun = True
        await self._pass({**(start or {}), "status": answer[0], "headers": answer[1]})

    async def _pass(self, message: Message) -> None:
        if self._durable and self._exchange.ended:
            await recorded(self._exchange)
        await send_or_gone(self._send, message)

    def finish(self) -> None:
        """End the exchange after the app returned; an answer that is not whole was broken off."""
        if self._exchange.ended:
            return
        if self._gone:
            raise ClientGoneError
        self._exchange.end(FAILED if self._begun else WHOLE)


def _headers(start: Message) -> list[tuple[bytes, bytes]]:
    return list(start.get("headers", []))
