"""The order of the stages: identify, read and peek, admit, forward, settle. Nothing else knows it.

Every admitted request is settled here if it was not before; every error leaves as an answer of the catalogue.
"""

import traceback
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from nemorouter.errors import Code
from nemorouter.gateway import problems
from nemorouter.gateway.admit import FENCED, admit, insist
from nemorouter.gateway.credential import authorization, source
from nemorouter.gateway.headers import LATENCY, REQUEST_ID, ietf_headers, milliseconds
from nemorouter.gateway.peek import NO_MODEL, peek
from nemorouter.gateway.problems import RejectedError
from nemorouter.gateway.settle import Call
from nemorouter.gateway.wire import ClientGoneError, Connection, Headers, Scope
from nemorouter.log import get_logger
from nemorouter.settings import Settings
from nemorouter.types import Endpoint, Outcome

if TYPE_CHECKING:
    from nemorouter._core import Gate

_log = get_logger(__name__)
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Route(Protocol[T_co]):
    """Who serves a model, and the number it has in the journal."""

    @property
    def upstream(self) -> T_co: ...
    @property
    def number(self) -> int: ...


class Pipeline(Generic[T]):
    """One worker's request path: ``resolve`` finds who serves a model, ``serve`` lets it answer an admitted call.

    ``wake`` calls the agent of a host that shares limits with others; it must not block.
    """

    __slots__ = (
        "_durable",
        "_identify",
        "_ietf",
        "_max_body",
        "_max_headers",
        "_now",
        "_resolve",
        "_serve",
        "_source",
        "_wake",
        "gate",
    )

    def __init__(
        self,
        gate: "Gate",
        settings: Settings,
        resolve: Callable[[str], Route[T] | None],
        serve: Callable[[T, Call, Scope, Connection], Coroutine[Any, Any, None]],
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.gate = gate
        self._wake = wake
        self._identify = gate.identify
        self._now = gate.now_us
        self._resolve = resolve
        self._serve = serve
        self._source = source(settings.trusted_proxies)
        self._max_body = settings.max_body_bytes
        self._max_headers = settings.max_header_bytes
        self._ietf = settings.ietf_rate_limit_headers
        self._durable = settings.durability == "commit"

    def identify(self, scope: Scope, endpoint: int) -> int:
        """The key's index, or minus the code of its refusal."""
        return self._identify(authorization(scope), self._source(scope), endpoint)

    async def __call__(self, scope: Scope, connection: Connection, endpoint: int) -> None:
        """Answer one model call; under ``Endpoint.MODELS`` a request that calls no model, its body unread."""
        started = self._now()
        call: Call | None = None
        try:
            index = self._identify(authorization(scope), self._source(scope), endpoint)
            if index < 0:
                self.refuse(connection, started, -index)
                return
            if endpoint == Endpoint.MODELS:
                body, seen = b"", NO_MODEL
            else:
                body = await self._read(scope.headers, connection)
                seen = peek(body, endpoint)
            route = self._resolve(seen.model)  # type: ignore[arg-type]  # peek lets only strings through
            if route is None:
                raise RejectedError(Code.MODEL_NOT_FOUND, problems.no_such_model(str(seen.model)))
            gate = self.gate
            ticket = admit(gate, index, seen, endpoint, route.number, len(body))
            if not isinstance(ticket, int):
                again = partial(admit, gate, index, seen, endpoint, route.number, len(body))
                ticket = await insist(gate, ticket, again, self._wake)
            call = Call(gate, index, ticket, started, endpoint, scope.path, body, seen, gate.request_id(ticket))
            call.durable = self._durable
            await self._serve(route.upstream, call, scope, connection)
        except RejectedError as rejected:
            self._reject(connection, started, rejected)
        except ClientGoneError:
            if call is not None:
                call.end(Outcome.CLIENT_GONE, call.status)
        except Exception:
            self._broken(connection, started, call)
        finally:
            if call is not None and not call.ended:
                call.end(Outcome.CLIENT_GONE, call.status)  # the task was cancelled: the server stops

    async def _read(self, headers: Headers, connection: Connection) -> bytes:
        """The body of a JSON request, refused as soon as it is known to be unusable."""
        if sum(map(len, headers.values())) > self._max_headers:
            raise RejectedError(Code.HEADERS_TOO_LARGE)
        kind = headers.get("content-type")
        if kind != "application/json" and kind is not None and not is_json(kind):
            raise RejectedError(Code.UNSUPPORTED_MEDIA_TYPE)
        coding = headers.get("content-encoding")
        if coding is not None and coding.strip().lower() not in ("", "identity"):
            raise RejectedError(Code.UNSUPPORTED_MEDIA_TYPE)
        length = headers.get("content-length")
        if length is not None and length.isdecimal():
            if int(length) > self._max_body:
                raise RejectedError(Code.REQUEST_TOO_LARGE, self._too_large())
            try:
                return await connection()
            except Exception as error:
                raise ClientGoneError from error
        return await self._count(connection)

    async def _count(self, connection: Connection) -> bytes:
        """A body of unknown length."""
        chunks, size = [], 0
        try:
            async for chunk in connection:
                size += len(chunk)
                if size > self._max_body:
                    raise RejectedError(Code.REQUEST_TOO_LARGE, self._too_large())
                chunks.append(chunk)
        except RejectedError:
            raise
        except Exception as error:
            raise ClientGoneError from error
        return b"".join(chunks)

    def _too_large(self) -> str:
        return f"The body is too large: at most {self._max_body} bytes."

    def refuse(self, connection: Connection, started_us: int, code: int, message: str | None = None) -> None:
        """Answer with an error that cost nothing."""
        if code == Code.NOT_READY and self.gate.arena.fenced:
            message = FENCED
        status, headers, body = problems.answer(code, message)
        headers.append((REQUEST_ID, self.gate.request_id(-1)))
        headers.append((LATENCY, milliseconds(self._now() - started_us)))
        connection.response_bytes(status, headers, body)

    def _reject(self, connection: Connection, started_us: int, rejected: RejectedError) -> None:
        refusal = rejected.refusal
        if refusal is None:
            self.refuse(connection, started_us, rejected.code, rejected.message)
            return
        status, headers, body = problems.refused(refusal)
        if status == 429:
            rates = self.gate.rate_headers(refusal.index)
            headers += [*rates, *(ietf_headers(rates) if self._ietf else ())]
        headers.append((REQUEST_ID, self.gate.request_id(-1)))
        headers.append((LATENCY, milliseconds(self._now() - started_us)))
        connection.response_bytes(status, headers, body)

    def _broken(self, connection: Connection, started_us: int, call: Call | None) -> None:
        """Our own fault: log the cause once, settle, and tell the client the request id alone."""
        identity = self.gate.request_id(-1) if call is None else call.request_id
        _log.error("internal_error", request_id=identity, cause=traceback.format_exc())
        if call is not None:
            call.end(Outcome.UPSTREAM_ERROR, 500)
            if call.status:
                raise ConnectionAbortedError(identity)  # the answer began: only breaking it off tells the client
        status, headers, body = problems.answer(Code.INTERNAL_ERROR, f"Internal error. Request id: {identity}.")
        headers.append((REQUEST_ID, identity))
        headers.append((LATENCY, milliseconds(self._now() - started_us)))
        connection.response_bytes(status, headers, body)


def is_json(content_type: str) -> bool:
    """``application/json`` or ``…+json``, whatever its parameters."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind in ("", "application/json") or kind.endswith("+json")
