"""ASGI dressed up as RSGI's few operations, so that one pipeline serves both. It decides nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from nemorouter.gateway.wire import ClientGoneError, HeaderList

AsgiScope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[AsgiScope, Receive, Send], Awaitable[None]]


class AsgiHeaders:
    """Request headers as ``wire.Headers``."""

    __slots__ = ("_raw",)

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self._raw = raw

    def get(self, key: str) -> str | None:
        name = key.encode()
        return next(
            (_text(value) for header, value in self._raw if header == name and value.isascii()),
            None,
        )

    def get_all(self, key: str) -> list[str]:
        name = key.encode()
        return [_text(value) for header, value in self._raw if header == name]

    def items(self) -> list[tuple[str, str]]:
        return [(_text(header), _text(value)) for header, value in self._raw]

    def __contains__(self, key: str) -> bool:
        name = key.encode()
        return any(header == name for header, _ in self._raw)


class AsgiRequest:
    """An ASGI request as ``wire.Scope`` and ``wire.Connection`` in one.

    A whole answer waits in here until ``flush``: RSGI answers without awaiting, ASGI cannot.
    """

    __slots__ = (
        "_answer",
        "_transport",
        "client",
        "headers",
        "method",
        "path",
        "query_string",
        "raw",
    )

    def __init__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        raw_path = scope.get("raw_path")
        self.raw = scope, receive, send
        self.path: str = (
            raw_path.partition(b"?")[0].decode("latin-1") if raw_path else scope["path"]
        )
        self.method: str = scope["method"]
        self.query_string: str = scope["query_string"].decode("latin-1")
        client = scope.get("client")
        self.client = f"{client[0]}:{client[1]}" if client else "0.0.0.0:0"
        self.headers = AsgiHeaders(scope["headers"])
        self._answer: tuple[int, HeaderList, bytes] | None = None
        self._transport: AsgiTransport | None = None

    async def __call__(self) -> bytes:
        return b"".join([chunk async for chunk in self])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        receive, more = self.raw[1], True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            more = message.get("more_body", False)
            yield message.get("body", b"")

    async def client_disconnect(self) -> None:
        """Only ``receive`` tells, once the body is read."""
        receive = self.raw[1]
        while (await receive())["type"] != "http.disconnect":
            pass

    def response_bytes(self, status: int, headers: HeaderList, body: bytes) -> None:
        self._answer = status, headers, body

    def response_stream(self, status: int, headers: HeaderList) -> "AsgiTransport":
        self._transport = AsgiTransport(self.raw[2], status, headers)
        return self._transport

    async def flush(self) -> None:
        """Send the whole answer, or end the streamed one."""
        if self._transport is not None:
            await self._transport.close()
        elif self._answer is not None:
            status, headers, body = self._answer
            headers = [*headers, ("content-length", str(len(body)))]
            await self.raw[2](_start(status, headers))
            await self.raw[2](
                {"type": "http.response.body", "body": b"" if self.method == "HEAD" else body}
            )


class AsgiTransport:
    """A streamed answer; its head leaves with the first chunk, or at the end."""

    __slots__ = ("_send", "_start")

    def __init__(self, send: Send, status: int, headers: HeaderList) -> None:
        self._send = send
        self._start: Message | None = _start(status, headers)

    def send_bytes(self, data: bytes) -> Awaitable[None]:
        piece = {"type": "http.response.body", "body": data, "more_body": True}
        return self._send(piece) if self._start is None else self._first(piece)

    async def _first(self, piece: Message) -> None:
        await self._begin()
        await self._send(piece)

    async def close(self) -> None:
        await self._begin()
        await self._send({"type": "http.response.body", "body": b""})

    async def _begin(self) -> None:
        if self._start is not None:
            start, self._start = self._start, None
            await self._send(start)


async def lifespan(
    receive: Receive,
    send: Send,
    start: Callable[[], Awaitable[None]],
    stop: Callable[[], Awaitable[None]],
) -> None:
    """ASGI's lifespan protocol around two coroutines."""
    await receive()
    try:
        await start()
    except asyncio.CancelledError:
        raise
    except Exception as error:
        await send(
            {"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"}
        )
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await stop()
    await send({"type": "lifespan.shutdown.complete"})


def _start(status: int, headers: HeaderList) -> Message:
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": encoded}


def _text(value: bytes) -> str:
    return value.decode("latin-1")


async def around(  # the wrapped app's lifespan, inside of ours
    app: AsgiApp,
    scope: AsgiScope,
    receive: Receive,
    send: Send,
    start: Callable[[], Awaitable[None]],
    stop: Callable[[], Awaitable[None]],
) -> None:
    """Start, then let ``app`` start; let it stop, then stop. An app without a lifespan is none the
    worse for it.
    """
    started = answered = False

    async def inner_receive() -> Message:
        nonlocal started
        message = await receive()
        if message["type"] == "lifespan.startup":
            await start()
            started = True
        return message

    async def inner_send(message: Message) -> None:
        nonlocal answered
        answered = True
        if message["type"].startswith("lifespan.shutdown"):
            await stop()
        await send(message)

    try:
        await app(scope, inner_receive, inner_send)
    except Exception:
        if answered:
            raise
    if answered:
        return
    if not started:
        await lifespan(receive, send, start, stop)
    else:
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await stop()
        await send({"type": "lifespan.shutdown.complete"})
