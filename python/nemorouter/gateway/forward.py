"""From a ticket to an answer: calls the upstream, passes its answer on."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from nemorouter._core import Call, Scanner, produced, read_usage
from nemorouter.errors import Code
from nemorouter.gateway.lookout import Lookout
from nemorouter.gateway.paths import POST
from nemorouter.gateway.peek import with_usage
from nemorouter.gateway.problems import answer as problem
from nemorouter.gateway.problems import body as problem_body
from nemorouter.gateway.settle import answer_headers, recorded
from nemorouter.gateway.wire import ClientGoneError, Connection, HeaderList, Scope
from nemorouter.types import Outcome
from nemorouter.upstream.base import (
    Answer,
    Chunks,
    Foreign,
    Read,
    Request,
    Upstream,
    UpstreamFailedError,
    UpstreamTimeoutError,
)

_PATHS: dict[int, str] = {endpoint: path.removeprefix("/v1") for path, endpoint in POST.items()}
_OK: Final = Outcome.OK
_Feed = Callable[[bytes | Foreign], bytes]
_SendBytes = Callable[[bytes], Awaitable[None]]
_PASSED_ON = ("openai-beta", "user-agent")
"""The only request headers that reach an upstream. Credentials are not among them."""


class Forwarder:
    """Answers calls through upstreams."""

    __slots__ = ("_durable", "_ietf", "_lookout")

    def __init__(self, *, ietf_headers: bool = False, durable: bool = False) -> None:
        self._ietf = ietf_headers
        self._lookout = Lookout()
        self._durable = durable  # the end of an answer waits until its row is on disk

    def __call__(
        self, upstream: Upstream, call: Call, scope: Scope, connection: Connection
    ) -> Coroutine[Any, Any, None] | None:
        """Answer ``call`` and settle it; None where that is done. ClientGoneError: the client left,
        and settling is up to the caller.
        """
        body = call.body
        strip = call.peek.lacks_usage
        if strip:
            body = with_usage(body)
        if upstream.instant is not None:
            answer = upstream.instant(call.endpoint, body, call.request_id)
            if answer.chunks is not None:
                return self._stream(call, connection, answer, answer.chunks, strip)
            _settle(call, answer)
            if self._durable:
                return self._whole(call, connection, answer)
            self._send(call, connection, answer)
            return None
        headers = scope.headers  # once: Granian copies them each time
        passed = [(name, value) for name in _PASSED_ON if (value := headers.get(name)) is not None]
        request = Request(
            call.endpoint, _PATHS[call.endpoint], body, call.request_id, passed, call.peek.stream
        )
        return self._relay(upstream, request, call, connection, strip)

    async def _relay(
        self, upstream: Upstream, request: Request, call: Call, connection: Connection, strip: bool
    ) -> None:
        """Send it, and pass on what comes, for as long as the client is there."""
        task = asyncio.current_task()
        if task is None:  # the server's tasks are none of asyncio's
            await asyncio.ensure_future(self._relay(upstream, request, call, connection, strip))
            return
        self._lookout.watch(task, connection)
        try:
            try:
                answer = await upstream.send(request)
            except UpstreamTimeoutError:
                await self._fail(call, connection, Code.UPSTREAM_TIMEOUT, Outcome.TIMEOUT)
            except UpstreamFailedError:
                await self._fail(call, connection, Code.UPSTREAM_FAILED, Outcome.UPSTREAM_ERROR)
            else:
                await self._pass_on(call, connection, answer, strip)
        except asyncio.CancelledError:
            if self._lookout.left(task):
                raise ClientGoneError from None
            raise
        finally:
            self._lookout.release(task)

    async def _pass_on(
        self, call: Call, connection: Connection, answer: Answer, strip: bool
    ) -> None:
        if answer.chunks is not None:
            await self._stream(call, connection, answer, answer.chunks, strip)
        elif answer.status < 300 or (
            answer.headers and answer.status >= 400 and _is_json(answer.headers)
        ):
            _settle(call, answer)
            await self._whole(call, connection, answer)
        else:
            await self._fail(call, connection, Code.UPSTREAM_FAILED, Outcome.UPSTREAM_ERROR)

    async def _whole(self, call: Call, connection: Connection, answer: Answer) -> None:
        if self._durable:
            await recorded(call)
        self._send(call, connection, answer)

    def _send(self, call: Call, connection: Connection, answer: Answer) -> None:
        connection.response_bytes(
            answer.status, answer_headers(call, answer.headers, ietf=self._ietf), answer.body
        )

    async def _stream(
        self, call: Call, connection: Connection, answer: Answer, chunks: Chunks, strip: bool
    ) -> None:
        call.status = answer.status
        transport = connection.response_stream(
            answer.status, answer_headers(call, answer.headers, ietf=self._ietf)
        )
        scanner = Scanner(call, strip=strip)
        outcome = Outcome.OK
        try:
            async with chunks as read:
                await self._chunks(call, read, scanner.feed, transport.send_bytes)
            if shown := scanner.flush():
                await _send(transport.send_bytes, shown)
        except UpstreamFailedError as error:
            late = isinstance(error, UpstreamTimeoutError)
            outcome = Outcome.TIMEOUT if late else Outcome.UPSTREAM_ERROR
            code = Code.UPSTREAM_TIMEOUT if late else Code.UPSTREAM_FAILED
            await _send(transport.send_bytes, b"data: %b\n\n" % problem_body(code))
        finally:
            call.usage = call.usage or scanner.usage
            call.produced = scanner.produced
        call.end(outcome, answer.status)
        if self._durable:
            await recorded(call)

    async def _chunks(self, call: Call, read: Read, feed: _Feed, send: _SendBytes) -> None:
        """Pass on what is whole with each chunk. A coroutine of ours for each would cost as much as
        to scan it.
        """
        durable = self._durable
        while (chunk := await read()) is not None:
            shown = feed(chunk)
            if durable and call.ended:  # the chunk that tells the usage, and all after it
                await recorded(call)
            if shown:
                try:
                    await send(shown)
                except Exception as error:
                    raise ClientGoneError from error

    async def _fail(self, call: Call, connection: Connection, code: Code, outcome: Outcome) -> None:
        status, headers, body = problem(code)
        call.end(outcome, status)
        if self._durable:
            await recorded(call)
        connection.response_bytes(status, answer_headers(call, headers, ietf=self._ietf), body)


def _settle(call: Call, answer: Answer) -> None:
    """Settle a whole answer."""
    if answer.status >= 400:
        call.end(Outcome.UPSTREAM_ERROR, answer.status)
        return
    used = answer.usage or read_usage(answer.body)
    if used is None:
        call.produced = produced(answer.body)
    call.end(_OK, answer.status, used)


async def _send(send: _SendBytes, data: bytes) -> None:
    """Servers differ in how they tell that nobody listens any more; here it is always
    ClientGoneError.
    """
    try:
        await send(data)
    except Exception as error:
        raise ClientGoneError from error


def _is_json(headers: HeaderList) -> bool:
    return any(name == "content-type" and "json" in value for name, value in headers)
