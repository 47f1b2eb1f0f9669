"""The order of the stages: identify, read and peek, admit, forward, settle. Nothing else knows it.

Every admitted request is settled here if it was not before; every error leaves as an answer of the
catalogue.
"""

import traceback
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from nemorouter._core import head, peek
from nemorouter.errors import Code
from nemorouter.gateway import problems
from nemorouter.gateway.admit import FENCED, WAITING, admitted, insist
from nemorouter.gateway.headers import LATENCY, REQUEST_ID, ietf_headers, milliseconds
from nemorouter.gateway.peek import NO_MODEL
from nemorouter.gateway.problems import RejectedError
from nemorouter.gateway.source import behind
from nemorouter.gateway.wire import ClientGoneError, Connection, Scope
from nemorouter.log import get_logger
from nemorouter.settings import Settings
from nemorouter.types import Endpoint, Outcome

if TYPE_CHECKING:
    from nemorouter._core import Call, Gate, Refusal

_log = get_logger(__name__)
_NO_CALL: Final = Endpoint.MODELS
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)


class Route(Protocol[T_co]):
    """Who serves a model, and the number it has in the journal."""

    @property
    def upstream(self) -> T_co: ...
    @property
    def number(self) -> int: ...


class Serve(Protocol[T_contra]):
    """Lets an upstream answer an admitted call, at once or when it is awaited."""

    def __call__(
        self, upstream: T_contra, call: "Call", scope: Scope, connection: Connection, /
    ) -> Coroutine[Any, Any, None] | None: ...


class Pipeline(Generic[T]):
    """One worker's request path: ``resolve`` finds who serves a model, ``serve`` lets it answer an
    admitted call.

    ``wake`` calls the agent of a host that shares limits with others; it must not block.
    """

    __slots__ = (
        "_begin",
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
        serve: Serve[T],
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.gate = gate
        self._wake = wake
        self._identify = gate.identify
        self._begin = gate.begin
        self._now = gate.now_us
        self._resolve = resolve
        self._serve = serve.__call__  # bound once: to call an object is to look for its method
        self._source = behind(settings.trusted_proxies)
        self._max_body = settings.max_body_bytes
        self._max_headers = settings.max_header_bytes
        self._ietf = settings.ietf_rate_limit_headers

    def identify(self, scope: Scope, endpoint: int) -> int:
        """The key's index, or minus the code of its refusal."""
        return self._who(scope, endpoint)[0]

    def _who(self, scope: Scope, endpoint: int) -> tuple[int, int]:
        """The key's index, or minus the code of its refusal; and what ``head`` says of the body."""
        headers = scope.headers  # once: Granian copies them each time
        authorization, size = head(scope, headers, self._max_headers, self._max_body)
        client = scope if self._source is None else self._source(scope, headers)
        return self._identify(authorization, client, endpoint), size

    async def __call__(  # noqa: C901 - the order of the stages stands in one place
        self, scope: Scope, connection: Connection, endpoint: int
    ) -> None:
        """Answer one model call; under ``Endpoint.MODELS`` a request that calls no model, its body
        unread.
        """
        started = self._now()
        call: Call | None = None
        reading = False
        try:
            index, size = self._who(scope, endpoint)
            if index < 0:
                self.refuse(connection, started, -index)
                return
            if endpoint == _NO_CALL:
                body, seen = b"", NO_MODEL
            else:
                reading = True
                body = await (connection() if size >= 0 else self._unmeasured(connection, size))
                reading = False
                found = peek(body, endpoint)
                if isinstance(found, tuple):
                    raise RejectedError(Code(found[0]), found[1])
                seen = found
            route = self._resolve(seen.model)
            if route is None:
                raise RejectedError(Code.MODEL_NOT_FOUND, problems.no_such_model(seen.model))
            verdict = self._begin(index, seen, endpoint, route.number, body, started)
            if admitted(verdict):
                call = verdict
            elif verdict.code in WAITING:
                again = partial(self._begin, index, seen, endpoint, route.number, body, started)
                call = await insist(self.gate, verdict, again, self._wake)
            else:
                self._refused(connection, started, verdict)
                return
            answering = self._serve(route.upstream, call, scope, connection)
            if answering is not None:
                await answering
        except RejectedError as rejected:
            self._reject(connection, started, rejected)
        except ClientGoneError:
            if call is not None:
                call.end(Outcome.CLIENT_GONE, call.status)
        except Exception:
            if not reading:  # else the client left before its body was whole
                self._broken(connection, started, call)
        finally:
            if call is not None and not call.ended:
                call.end(
                    Outcome.CLIENT_GONE, call.status
                )  # the task was cancelled: the server stops

    async def _unmeasured(self, connection: Connection, size: int) -> bytes:
        """The body of a request whose headers are at fault, or do not tell its length."""
        if size == -1:
            return await self._count(connection)
        code = Code(-1 - size)
        raise RejectedError(code, self._too_large() if code == Code.REQUEST_TOO_LARGE else None)

    async def _count(self, connection: Connection) -> bytes:
        """A body of unknown length."""
        chunks, size = [], 0
        async for chunk in connection:
            size += len(chunk)
            if size > self._max_body:
                raise RejectedError(Code.REQUEST_TOO_LARGE, self._too_large())
            chunks.append(chunk)
        return b"".join(chunks)

    def _too_large(self) -> str:
        return f"The body is too large: at most {self._max_body} bytes."

    def refuse(
        self, connection: Connection, started_us: int, code: int, message: str | None = None
    ) -> None:
        """Answer with an error that cost nothing."""
        if code == Code.NOT_READY and self.gate.arena.fenced:
            message = FENCED
        status, headers, body = problems.answer(code, message)
        connection.response_bytes(status, self.gate.untaken_headers(headers, started_us), body)

    def _reject(self, connection: Connection, started_us: int, rejected: RejectedError) -> None:
        if rejected.refusal is None:
            self.refuse(connection, started_us, rejected.code, rejected.message)
        else:
            self._refused(connection, started_us, rejected.refusal)

    def _refused(self, connection: Connection, started_us: int, refusal: "Refusal") -> None:
        """Answer what the gate refused: it is a storm's common case, so no exception comes here."""
        status, headers, body = problems.refused(refusal)
        if status == 429:
            rates = self.gate.rate_headers(refusal.index)
            headers += rates
            if self._ietf:
                headers += ietf_headers(rates)
        connection.response_bytes(status, self.gate.untaken_headers(headers, started_us), body)

    def _broken(self, connection: Connection, started_us: int, call: "Call | None") -> None:
        """Our own fault: log the cause once, settle, and tell the client the request id alone."""
        identity = self.gate.request_id(-1) if call is None else call.request_id
        _log.error("internal_error", request_id=identity, cause=traceback.format_exc())
        if call is not None:
            call.end(Outcome.UPSTREAM_ERROR, 500)
            if call.status:
                raise ConnectionAbortedError(
                    identity
                )  # the answer began: only breaking it off tells the client
        status, headers, body = problems.answer(
            Code.INTERNAL_ERROR, f"Internal error. Request id: {identity}."
        )
        latency = milliseconds(self._now() - started_us)
        headers = [*headers, (REQUEST_ID, identity), (LATENCY, latency)]
        connection.response_bytes(status, headers, body)
