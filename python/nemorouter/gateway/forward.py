"""From a ticket to an answer: calls the upstream, passes its answer on, notices when the client leaves meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any, cast

from nemorouter.errors import Code
from nemorouter.gateway.peek import with_usage
from nemorouter.gateway.problems import answer as problem
from nemorouter.gateway.problems import body as problem_body
from nemorouter.gateway.settle import Call, answer_headers
from nemorouter.gateway.wire import ClientGoneError, Connection, HeaderList, Scope
from nemorouter.types import Outcome
from nemorouter.upstream import usage
from nemorouter.upstream.base import Answer, Request, Upstream, UpstreamFailedError, UpstreamTimeoutError
from nemorouter.upstream.sse import Scanner

_PASSED_ON = ("openai-beta", "user-agent")
"""The only request headers that reach an upstream. Credentials are not among them."""


class Forwarder:
    """Answers calls through upstreams."""

    __slots__ = ("_ietf",)

    def __init__(self, *, ietf_headers: bool) -> None:
        self._ietf = ietf_headers

    def __call__(
        self, upstream: Upstream, call: Call, scope: Scope, connection: Connection
    ) -> Coroutine[Any, Any, None]:
        """Answer ``call`` and settle it. ClientGoneError: the client left, and settling is up to the caller."""
        body = call.body
        strip = call.peek.lacks_usage()
        if strip:
            body = with_usage(body)
        if upstream.instant:
            request = Request(call.endpoint, call.path[3:], body, call.request_id)
            return self._relay(upstream, request, call, connection, strip)
        passed = [(name, value) for name in _PASSED_ON if (value := scope.headers.get(name)) is not None]
        request = Request(call.endpoint, call.path[3:], body, call.request_id, passed)
        return _watched(self._relay(upstream, request, call, connection, strip), connection)

    async def _relay(
        self, upstream: Upstream, request: Request, call: Call, connection: Connection, strip: bool
    ) -> None:
        try:
            answer = await upstream.send(request)
        except UpstreamTimeoutError:
            await self._fail(call, connection, Code.UPSTREAM_TIMEOUT, Outcome.TIMEOUT)
        except UpstreamFailedError:
            await self._fail(call, connection, Code.UPSTREAM_FAILED, Outcome.UPSTREAM_ERROR)
        else:
            if answer.chunks is not None:
                await self._stream(call, connection, answer, answer.chunks, strip)
            elif answer.status < 300 or (answer.headers and answer.status >= 400 and _is_json(answer.headers)):
                await self._whole(call, connection, answer)
            else:
                await self._fail(call, connection, Code.UPSTREAM_FAILED, Outcome.UPSTREAM_ERROR)

    async def _whole(self, call: Call, connection: Connection, answer: Answer) -> None:
        status = answer.status
        if status < 400:
            call.usage = answer.usage or usage.read(answer.body)
            if call.usage is None:
                call.produced = usage.produced(answer.body)
            cost = call.end(Outcome.OK, status)
        else:
            cost = call.end(Outcome.UPSTREAM_ERROR, status)
        if call.durable:
            await call.recorded()
        connection.response_bytes(status, answer_headers(call, answer.headers, cost, ietf=self._ietf), answer.body)

    async def _stream(
        self, call: Call, connection: Connection, answer: Answer, chunks: AsyncIterator[bytes], strip: bool
    ) -> None:
        call.status = answer.status
        transport = connection.response_stream(answer.status, answer_headers(call, answer.headers, -1, ietf=self._ietf))
        scanner = Scanner(call.bill, strip=strip)
        outcome = Outcome.OK
        try:
            async with aclosing(cast("Any", chunks)):
                async for chunk in chunks:
                    call.begun()
                    shown = scanner.feed(chunk)
                    if call.durable and call.ended:  # the chunk that tells the usage, and all after it
                        await call.recorded()
                    if shown:
                        await _send(transport.send_bytes(shown))
            if shown := scanner.flush():
                await _send(transport.send_bytes(shown))
        except UpstreamFailedError as error:
            late = isinstance(error, UpstreamTimeoutError)
            outcome = Outcome.TIMEOUT if late else Outcome.UPSTREAM_ERROR
            code = Code.UPSTREAM_TIMEOUT if late else Code.UPSTREAM_FAILED
            await _send(transport.send_bytes(b"data: %b\n\n" % problem_body(code)))
        finally:
            call.usage = call.usage or scanner.usage
            call.produced = scanner.produced
        call.end(outcome, answer.status)
        if call.durable:
            await call.recorded()

    async def _fail(self, call: Call, connection: Connection, code: Code, outcome: Outcome) -> None:
        status, headers, body = problem(code)
        cost = call.end(outcome, status)
        if call.durable:
            await call.recorded()
        connection.response_bytes(status, answer_headers(call, headers, cost, ietf=self._ietf), body)


async def _watched(work: Coroutine[Any, Any, None], connection: Connection) -> None:
    """Run ``work`` in a task of its own, cancelled when the client leaves; then ClientGoneError."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(connection.client_disconnect())
    gone.add_done_callback(lambda _: task.cancel())
    try:
        await task
    except asyncio.CancelledError:
        if gone.done() and not gone.cancelled():
            raise ClientGoneError from None
        raise
    finally:
        gone.cancel()


async def _send(sending: Coroutine[Any, Any, None]) -> None:
    """Servers differ in how they tell that nobody listens any more; here it is always ClientGoneError."""
    try:
        await sending
    except Exception as error:
        raise ClientGoneError from error


def _is_json(headers: HeaderList) -> bool:
    return any(name == "content-type" and "json" in value for name, value in headers)
