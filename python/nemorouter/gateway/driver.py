"""Carry a request through its exchange: read the body, wait, let somebody answer, send the answer.

The order of the stages is the native ``Exchange``'s. A driver performs the I/O that each step asks
for, and reports what went wrong.
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from nemorouter._core import Exchange, Resource, Wait, Worker
from nemorouter.errors import Code
from nemorouter.gateway.wire import (
    AppFailedError,
    ClientGoneError,
    Connection,
    IncompleteBodyError,
    Scope,
    is_asgi,
)
from nemorouter.log import get_logger

_log = get_logger(__name__)
_RECORD_S: Final = 30.0
_LOOK_S: Final = 0.001

WHOLE: Final = 0
FAILED: Final = 1
LATE: Final = 2
GONE: Final = 3
BROKEN: Final = 4
"""How an exchange ends, by the numbers of ``Exchange.end``."""


class Serve(Protocol):
    """Answer an admitted request; None where that is done without waiting."""

    def __call__(
        self, exchange: Exchange, scope: Scope, connection: Connection, /
    ) -> Awaitable[None] | None: ...


Others = Callable[[Resource | None, Scope, Connection], Awaitable[None]]
"""Answers a request that is no exchange: a resource of the gateway, or (None) an unguarded path."""


class Driver:
    """The request path of one worker, on RSGI or ASGI.

    ``serve`` answers what is admitted, ``others`` what needs no admission. ``wake`` calls the agent
    of a host that shares limits with others; it must not block. With ``durable`` the end of an
    answer waits until its row is on disk.
    """

    __slots__ = ("_durable", "_max_body", "_open", "_others", "_serve", "_wake", "_worker")

    def __init__(
        self,
        worker: Worker,
        serve: Serve,
        others: Others,
        *,
        max_body: int,
        wake: Callable[[], None] = lambda: None,
        durable: bool = False,
    ) -> None:
        self._worker = worker
        self._open = worker.open  # bound once: to call a method of an object is to look for it
        self._serve = serve
        self._others = others
        self._max_body = max_body
        self._wake = wake
        self._durable = durable

    async def __call__(  # noqa: C901 - the order of the I/O stands in one place
        self, scope: Scope, connection: Connection
    ) -> None:
        """Answer one request."""
        exchange = None
        try:
            opened = self._open(scope)
            if type(opened) is Exchange:
                exchange = opened
                body = None
                if exchange.wants_body:
                    if exchange.announced is None:
                        body = await self._count(scope, connection)
                    else:
                        body = await _announced(connection)
                step = exchange.admit(body)
                while type(step) is Wait:
                    if step.bell:
                        self._wake()
                    await asyncio.sleep(step.seconds)
                    step = exchange.admit(None)
                if step is None:
                    answering = self._serve(exchange, scope, connection)
                    if answering is not None:
                        await answering
                else:
                    if self._durable:
                        await recorded(exchange)
                    connection.response_bytes(*step)
            elif isinstance(opened, tuple):
                connection.response_bytes(*opened)
            else:
                await self._others(opened, scope, connection)
        except ClientGoneError:
            if exchange is not None:
                exchange.end(GONE)
        except IncompleteBodyError:
            self._refuse(scope, connection, Code.INVALID_REQUEST, "The body is not complete.")
        except AppFailedError as failed:
            raise failed.error from None
        except asyncio.CancelledError:
            if exchange is not None:
                exchange.end(GONE)  # the server stops
            raise
        except Exception:
            self._broken(scope, connection, exchange)

    async def _count(self, scope: Scope, connection: Connection) -> bytes:
        """Read a body of unknown length, as far as it may go and a little further."""
        chunks, size, empty = [], 0, 0
        async for chunk in connection:
            empty = 0 if chunk else empty + 1
            size += len(chunk)
            chunks.append(chunk)
            if size > self._max_body:
                break
        # Granian ends a body that broke off as it ends a whole one, but for one more empty chunk.
        if empty > 1 and not is_asgi(scope) and not scope.http_version.startswith("2"):
            raise IncompleteBodyError
        return b"".join(chunks)

    def _refuse(
        self, scope: Scope, connection: Connection, code: Code, message: str | None = None
    ) -> None:
        connection.response_bytes(*self._worker.refuse(code, message, asgi=is_asgi(scope)))

    def _broken(self, scope: Scope, connection: Connection, exchange: Exchange | None) -> None:
        """Log a fault of ours once, settle, and tell the client the request's id alone.

        ConnectionAbortedError: the answer had begun, and only breaking it off tells the client.
        """
        if exchange is None:
            _log.error("internal_error", cause=traceback.format_exc())
            self._refuse(scope, connection, Code.INTERNAL_ERROR)
            return
        identity = exchange.request_id
        _log.error("internal_error", request_id=identity, cause=traceback.format_exc())
        last = exchange.end(BROKEN)
        if type(last) is not tuple:
            raise ConnectionAbortedError(identity)
        connection.response_bytes(*last)


async def _announced(connection: Connection) -> bytes:
    """Read a body whose length is known. IncompleteBodyError: the client left before its end."""
    try:
        return await connection()
    except (ClientGoneError, asyncio.CancelledError):
        raise
    except Exception as error:
        raise IncompleteBodyError from error


async def recorded(exchange: Exchange) -> None:
    """Wait until the row of an ended exchange is on disk. TimeoutError: it is not, and the answer
    must not say that all is well.
    """
    async with asyncio.timeout(_RECORD_S):
        while not exchange.recorded:
            await asyncio.sleep(_LOOK_S)


async def send_or_gone(send: Callable[[Any], Awaitable[None]], data: object) -> None:
    """Send a piece of an answer. Servers differ in how they report that nobody listens any more;
    here it is always ClientGoneError.
    """
    try:
        await send(data)
    except Exception as error:
        raise ClientGoneError from error
