"""From an admitted request to an answer: call the upstream, and pass its answer on."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Final

from nemorouter._core import CALLS, Exchange
from nemorouter.gateway.asgi import AsgiTransport
from nemorouter.gateway.disconnects import DisconnectWatcher
from nemorouter.gateway.driver import FAILED, LATE, WHOLE, recorded, send_or_gone
from nemorouter.gateway.wire import ClientGoneError, Connection, Scope
from nemorouter.log import get_logger
from nemorouter.upstream.base import (
    Answer,
    Chunks,
    Request,
    Upstream,
    UpstreamFailedError,
    UpstreamTimeoutError,
)

_log = get_logger(__name__)
_PATHS: Final = {endpoint: path for path, endpoint in CALLS}
_KEY_REFUSED: Final = (401, 403)


class Forwarder:
    """Answers admitted requests through ``upstreams``, which are numbered as in the routes."""

    __slots__ = ("_disconnects", "_durable", "_upstreams")

    def __init__(self, upstreams: Sequence[Upstream], *, durable: bool = False) -> None:
        self._upstreams = upstreams
        self._disconnects = DisconnectWatcher()
        self._durable = durable  # the end of an answer waits until its row is on disk

    def __call__(self, exchange: Exchange, scope: Scope, connection: Connection) -> Awaitable[None]:
        """Answer and settle. ClientGoneError: the client left, and settling is up to the caller."""
        upstream = self._upstreams[exchange.route]
        body = exchange.body
        assert body is not None  # noqa: S101 - every model call has one
        if upstream.instant is not None:
            answer = upstream.instant(exchange.endpoint, body, exchange.request_id)
            if answer.chunks is not None:
                return self._stream(exchange, connection, answer, answer.chunks)
            return self._whole(exchange, connection, answer)
        request = Request(
            exchange.endpoint,
            _PATHS[exchange.endpoint],
            body,
            exchange.request_id,
            exchange.passed_on,
            exchange.stream,
        )
        return self._relay(upstream, request, exchange, connection)

    async def _relay(
        self, upstream: Upstream, request: Request, exchange: Exchange, connection: Connection
    ) -> None:
        """Send the request, and pass on what comes, for as long as the client is there."""
        task = asyncio.current_task()
        if task is None:  # the server's tasks are none of asyncio's
            await asyncio.ensure_future(self._relay(upstream, request, exchange, connection))
            return
        told = {"upstream": upstream.name, "request_id": request.request_id}
        self._disconnects.watch(task, connection)
        try:
            answer = await upstream.send(request)
            if answer.status in _KEY_REFUSED:
                _log.error("upstream_refused_key", **told, status=answer.status)
            if answer.chunks is not None:
                await self._stream(exchange, connection, answer, answer.chunks)
            else:
                await self._whole(exchange, connection, answer)
        except UpstreamFailedError as error:
            _log.warning("upstream_failed", **told, cause=repr(error.__cause__ or error))
            last = exchange.end(_end_of(error))
            if self._durable:
                await recorded(exchange)
            assert isinstance(last, tuple)  # noqa: S101 - streams report their failures themselves
            connection.response_bytes(*last)
        except asyncio.CancelledError:
            if self._disconnects.left(task):
                raise ClientGoneError from None
            raise
        finally:
            self._disconnects.release(task)

    async def _whole(self, exchange: Exchange, connection: Connection, answer: Answer) -> None:
        whole = exchange.whole(answer.status, answer.headers, answer.body, answer.usage)
        if self._durable:
            await recorded(exchange)
        connection.response_bytes(*whole)

    async def _stream(
        self, exchange: Exchange, connection: Connection, answer: Answer, chunks: Chunks
    ) -> None:
        status, headers, _ = exchange.begin(answer.status, answer.headers)
        transport = connection.response_stream(status, headers)
        if isinstance(transport, AsgiTransport):
            await send_or_gone(AsgiTransport.begin, transport)
        feed = exchange.chunk
        send_bytes = transport.send_bytes
        durable = self._durable
        end = WHOLE
        try:
            async with chunks as read:
                # A coroutine of ours for each chunk would cost as much as to scan it.
                while (chunk := await read()) is not None:
                    shown = feed(chunk)
                    if durable and exchange.ended:  # the chunk that tells the usage, and all after
                        await recorded(exchange)
                    if shown:
                        try:
                            await send_bytes(shown)
                        except Exception as error:
                            raise ClientGoneError from error
        except UpstreamFailedError as error:
            end = _end_of(error)
        last = exchange.end(end)
        if last:
            assert type(last) is bytes  # noqa: S101 - the answer has begun
            await send_or_gone(send_bytes, last)
        if durable:
            await recorded(exchange)


def _end_of(error: UpstreamFailedError) -> int:
    return LATE if isinstance(error, UpstreamTimeoutError) else FAILED
