"""Adapt ASGI to RSGI's few operations, so that one driver serves both. It decides nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from functools import cache
from typing import Any

from nemorouter.gateway.wire import ClientGoneError, HeaderList
from nemorouter.log import get_logger

_log = get_logger(__name__)
AsgiScope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[AsgiScope, Receive, Send], Awaitable[None]]


@cache
def warn_of_rewritten_source() -> None:
    """Log, once, that the server takes the source address from a header by itself."""
    _log.warning(
        "source_address_unknown",
        cause="The server took the client's address from X-Forwarded-For (its port is 0), and "
        "trusted_proxies is not set: keys with a list of addresses are refused.",
    )


class AsgiRequest:
    """An ASGI request as ``wire.Connection``.

    A whole answer waits in here until ``flush``: RSGI answers without awaiting, ASGI cannot.
    """

    __slots__ = ("_answer", "_most", "_transport", "raw")

    def __init__(self, scope: AsgiScope, receive: Receive, send: Send, most: int) -> None:
        self.raw = scope, receive, send
        self._most = most
        self._answer: tuple[int, HeaderList, bytes] | None = None
        self._transport: AsgiTransport | None = None

    async def __call__(self) -> bytes:
        """Read the whole body, or a little more than ``most`` bytes of it.

        ClientGoneError: the client left before its end.
        """
        chunks = []
        size = 0
        async for chunk in self:
            chunks.append(chunk)
            size += len(chunk)
            if size > self._most:
                break
        return b"".join(chunks)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        receive = self.raw[1]
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            more = message.get("more_body", False)
            yield message.get("body", b"")

    async def client_disconnect(self) -> None:
        """Wait until the client leaves. Only ``receive`` tells, once the body is read."""
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
        scope, _, send = self.raw
        if self._transport is not None:
            await self._transport.close()
        elif self._answer is not None:
            status, headers, body = self._answer
            if status == 401 and scope.get("client") and scope["client"][1] == 0:
                warn_of_rewritten_source()
            start = _start(status, headers)
            start["headers"].append((b"content-length", str(len(body)).encode()))
            await send(start)
            shown = b"" if scope["method"] == "HEAD" else body
            await send({"type": "http.response.body", "body": shown})


class AsgiTransport:
    """A streamed answer. Its head leaves with ``begin``, or with the first piece."""

    __slots__ = ("_send", "_start")

    def __init__(self, send: Send, status: int, headers: HeaderList) -> None:
        self._send = send
        self._start: Message | None = _start(status, headers)

    async def begin(self) -> None:
        """Send the head, so that the client need not wait for the first piece."""
        if self._start is not None:
            start = self._start
            self._start = None
            await self._send(start)
            await self._send({"type": "http.response.body", "body": b"", "more_body": True})

    def send_bytes(self, data: bytes) -> Awaitable[None]:
        piece = {"type": "http.response.body", "body": data, "more_body": True}
        return self._send(piece) if self._start is None else self._first(piece)

    async def _first(self, piece: Message) -> None:
        await self.begin()
        await self._send(piece)

    async def close(self) -> None:
        await self.begin()
        await self._send({"type": "http.response.body", "body": b""})


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


def _start(status: int, headers: Sequence[tuple[Any, Any]]) -> Message:
    """Make the first message of an answer; headers of native answers are bytes already."""
    encoded = [
        pair
        if isinstance(pair[0], bytes)
        else (pair[0].encode("latin-1"), pair[1].encode("latin-1"))
        for pair in headers
    ]
    return {"type": "http.response.start", "status": status, "headers": encoded}


async def wrap_lifespan(  # the wrapped app's lifespan, inside of ours
    app: AsgiApp,
    scope: AsgiScope,
    receive: Receive,
    send: Send,
    start: Callable[[], Awaitable[None]],
    stop: Callable[[], Awaitable[None]],
) -> None:
    """Run ``start``, then ``app``'s start; later ``app``'s stop, then ``stop``.

    An app without a lifespan works as well.
    """
    started = False
    answered = False

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
