"""Carry a request through its exchange: read the body, wait, let somebody answer, send the answer.

The order of the stages is the native ``Exchange``'s. A driver performs the I/O that each step asks
for, and reports what went wrong.
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, Final

from nemorouter._core import Exchange, Resource, Wait, Worker
from nemorouter.bodies import Bodies
from nemorouter.errors import BodyTimeoutError, Code
from nemorouter.gateway.wire import ClientGoneError, Connection, Scope, is_asgi
from nemorouter.log import get_logger

_log = get_logger(__name__)
_RECORD_S: Final = 30.0
_LOOK_S: Final = 0.001
_CUT: Final = "The body is not complete."

WHOLE: Final = 0
FAILED: Final = 1
LATE: Final = 2
GONE: Final = 3
BROKEN: Final = 4
"""The ends of an exchange, by the numbers of ``Exchange.end``."""

Serve = Callable[[Exchange, Scope, Connection], Awaitable[None]]
"""Answers an admitted request."""
Others = Callable[[Resource | None, Scope, Connection], Awaitable[None]]
"""Answers a request that is no exchange: a resource of the gateway, or (None) an unguarded path."""


class Driver:
    """The request path of one worker, on RSGI or ASGI.

    ``serve`` answers what is admitted, ``others`` what needs no admission. ``wake`` calls the agent
    of a host that shares limits with others; it must not block. With ``durable`` the end of an
    answer waits until its row is on disk. ``wrapped``: a wrapped app answers. ``bodies`` bounds
    what is read.
    """

    def __init__(
        self,
        worker: Worker,
        serve: Serve,
        others: Others,
        *,
        max_body: int,
        bodies: Bodies,
        wake: Callable[[], None] = lambda: None,
        durable: bool = False,
        wrapped: bool = False,
    ) -> None:
        self._worker = worker
        self._open = worker.open  # bound once: to call a method of an object is to look for it
        self._serve = serve
        self._others = others
        self._max_body = max_body
        self._bodies = bodies
        self._wake = wake
        self._durable = durable
        self._wrapped = wrapped

    async def __call__(  # noqa: C901 - the order of the I/O stands in one place
        self, scope: Scope, connection: Connection
    ) -> None:
        """Answer one request."""
        exchange = None
        reading = False
        try:
            opened = self._open(scope)
            if type(opened) is Exchange:
                exchange = opened
                body = None
                if exchange.wants_body:
                    reading = True
                    if exchange.counted:
                        rsgi = None if is_asgi(scope) else scope
                        body = await self._bodies.counted(connection, self._max_body, rsgi)
                    else:
                        body = await self._bodies.whole(connection)
                    reading = False
                step = exchange.admit(body)
                while type(step) is Wait:
                    if step.bell:
                        self._wake()
                    await asyncio.sleep(step.seconds)
                    step = exchange.admit(None)
                if step is None:
                    await self._serve(exchange, scope, connection)
                else:
                    if self._durable:
                        await recorded(exchange)
                    connection.response_bytes(*step)
            elif isinstance(opened, tuple):
                connection.response_bytes(*opened)
            else:
                await self._others(opened, scope, connection)
        except asyncio.CancelledError:
            if exchange is not None:
                exchange.end(GONE)  # the server stops
            raise
        except Exception as error:
            if reading:  # the body came too slowly, or broke off
                late = isinstance(error, BodyTimeoutError)
                code, told = (Code.REQUEST_TIMEOUT, None) if late else (Code.INVALID_REQUEST, _CUT)
                answer = self._worker.refuse(code, told, asgi=is_asgi(scope))
                connection.response_bytes(*closing(answer, asgi=is_asgi(scope)))
            elif isinstance(error, ClientGoneError):
                if exchange is not None:
                    exchange.end(GONE)
            else:
                self._broken(scope, connection, exchange)

    def _broken(self, scope: Scope, connection: Connection, exchange: Exchange | None) -> None:
        """Settle after a fault, log it once, and tell the client the request's id alone.

        ConnectionAbortedError: the answer had begun, and only breaking it off tells the client. The
        fault of a wrapped app is its own then.
        """
        identity = None
        last = None
        if exchange is not None:
            identity = exchange.request_id
            last = exchange.end(BROKEN)
            if last is None and self._wrapped:
                raise
        _log.error("internal_error", request_id=identity, cause=traceback.format_exc())
        if exchange is None:
            last = self._worker.refuse(Code.INTERNAL_ERROR, asgi=is_asgi(scope))
        if not isinstance(last, tuple):
            raise ConnectionAbortedError(identity)
        connection.response_bytes(*last)


def closing(answer: Any, *, asgi: bool) -> Any:  # noqa: ANN401 - an answer in either form
    """Add ``connection: close`` to an answer after which the rest of a body is not read."""
    status, headers, body = answer
    close = (b"connection", b"close") if asgi else ("connection", "close")
    return status, [*headers, close], body


async def recorded(exchange: Exchange) -> None:
    """Wait until the row of an ended exchange is on disk.

    TimeoutError: it is not, and the answer must not say that all is well.
    """
    async with asyncio.timeout(_RECORD_S):
        while not exchange.recorded:
            await asyncio.sleep(_LOOK_S)


async def send_or_gone(send: Callable[[Any], Awaitable[None]], data: object) -> None:
    """Send a piece of an answer; ClientGoneError if the client has left.

    Servers report that in different ways.
    """
    try:
        await send(data)
    except Exception as error:
        raise ClientGoneError from error
