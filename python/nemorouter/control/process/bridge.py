"""Hand requests of the gateway's router over to the process of the control plane.

An RSGI request is presented as an ASGI one. Where ``serve`` started no such process, the app is
made here when it is first needed: imported and built in a thread, so that model calls go on
meanwhile.
"""

import asyncio
from functools import partial
from typing import Any, Final

from nemorouter._core import problem
from nemorouter.bodies import Bodies
from nemorouter.control import policy
from nemorouter.control.process import link
from nemorouter.control.process.link import AsgiApp, Message
from nemorouter.control.process.throttle import Throttle
from nemorouter.datadir.paths import DataDir
from nemorouter.errors import BodyTimeoutError, BrokenBodyError, BusyError, Code, StoreError
from nemorouter.services.transaction.context import Context
from nemorouter.settings import Settings
from nemorouter.store.engine import Store

_JSON: Final = (("content-type", "application/json"), ("cache-control", "no-store"))
_CLOSE: Final = (*_JSON, ("connection", "close"))
_GONE: Final = (
    b'{"error":{"message":"This process ended before it had answered. '
    b'Look whether the change took effect.",'
    b'"type":"server_error","code":"not_ready"}}'
)
_AWAY: Final = (
    b'{"error":{"message":"The store does not answer.","type":"server_error","code":"not_ready"}}'
)
_BUSY: Final = (
    b'{"error":{"message":"Too many requests at once. Retry.","type":"server_error",'
    b'"code":"overloaded"}}'
)
_CUT: Final = "The body is not complete."


class _TooLargeError(Exception):
    """Report a body that is larger than the control plane takes."""


class Control:
    """Answers what the gateway does not; callable as the gateway's own parts are."""

    def __init__(self, settings: Settings, store: Store, bodies: Bodies) -> None:
        self._settings = settings
        self._store = store
        self._bodies = bodies
        self._socket = DataDir(settings.data_dir).control_socket
        self._app: AsgiApp | None = None
        self._making = asyncio.Lock()
        self._pace = Throttle()

    async def __call__(self, scope: Any, connection: Any) -> None:  # noqa: ANN401 - RSGI's objects, or ASGI's in their dress
        """Answer one request."""
        raw = getattr(connection, "raw", None)
        if raw is not None:
            asgi, receive, send = raw
            await (self._app or await self._make())(asgi, self._bodies.receiving(receive), send)
            return
        answer = _Answer(connection)
        try:
            await self._pace()
            await self._relay(scope, connection, answer)
        except BusyError:
            connection.response_bytes(503, [*_CLOSE, ("retry-after", "1")], _BUSY)
        except BodyTimeoutError:
            _refuse(connection, Code.REQUEST_TIMEOUT)
        except BrokenBodyError:
            _refuse(connection, Code.INVALID_REQUEST, _CUT)
        except _TooLargeError:
            _refuse(connection, Code.REQUEST_TOO_LARGE)
        except link.BrokenLinkError as error:
            if error.begun:
                raise
            connection.response_bytes(503, [*_JSON, ("retry-after", "1")], _GONE)
        except StoreError:  # before there is an app that says so itself
            connection.response_bytes(503, [*_JSON, ("retry-after", "1")], _AWAY)
        finally:
            answer.close()

    async def _relay(self, scope: Any, connection: Any, answer: "_Answer") -> None:  # noqa: ANN401 - RSGI's objects
        """Let the control plane's process answer, or the app of this one where there is none."""
        read = partial(self._read, scope, connection)
        if not scope.path.startswith(policy.API):
            whole = await read()  # anybody may send it, and a process that waits for it costs more
            read = partial(_given, whole)
        if not await link.relay(self._socket, asgi_scope(scope), read, answer.send):
            await serve(self._app or await self._make(), scope, read, answer)

    async def _read(self, scope: Any, connection: Any) -> bytes:  # noqa: ANN401 - RSGI's objects
        most = policy.MAX_BODY if scope.path.startswith(policy.API) else policy.MAX_FORM
        announced = scope.headers.get("content-length") or "0"
        if announced.isdecimal() and int(announced) > most:
            raise _TooLargeError
        body = await self._bodies.counted(connection, most, scope)
        if len(body) > most:
            raise _TooLargeError
        await self._pace()
        return body

    async def _make(self) -> AsgiApp:
        async with self._making:
            if self._app is None:
                context = await Context.attach(self._store, self._settings)
                self._app = await asyncio.to_thread(_build, context, self._settings)
            return self._app


def _build(context: Context, settings: Settings) -> AsgiApp:
    # Half a second of imports: they run in this thread, while model calls go on.
    from nemorouter.control.app import create_control

    app: AsgiApp = create_control(context, settings)
    return app


def _refuse(connection: Any, code: Code, message: str | None = None) -> None:  # noqa: ANN401 - RSGI's
    """Answer by the catalogue, and close: the rest of the body is not read."""
    status, _, body = problem(code, message)
    connection.response_bytes(status, list(_CLOSE), body)


async def _given(body: bytes) -> bytes:
    return body


async def serve(app: AsgiApp, scope: Any, read: link.Read, answer: "_Answer") -> None:  # noqa: ANN401 - RSGI's scope
    """Answer one RSGI request by an ASGI app of this process."""
    given = False

    async def receive() -> Message:
        nonlocal given
        if given:
            await answer.done.wait()
            return {"type": "http.disconnect"}
        given = True
        return {"type": "http.request", "body": await read(), "more_body": False}

    await app(asgi_scope(scope), receive, answer.send)


def asgi_scope(scope: Any) -> Message:  # noqa: ANN401 - RSGI's scope
    """Make the ASGI 3 scope of an RSGI request."""
    host, _, port = scope.client.rpartition(":")
    headers = [
        (name.encode("latin-1"), value.encode("latin-1")) for name, value in scope.headers.items()
    ]
    listed = {name for name, _ in headers}
    # A value outside ASCII is not listed, but its name is: what is there must not seem to be
    # absent.
    hidden = {name.encode("latin-1") for name in scope.headers.keys()} - listed  # noqa: SIM118 - no dict
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": scope.http_version,
        "method": scope.method,
        "scheme": scope.scheme,
        "path": scope.path,
        "raw_path": scope.path.encode(),
        "query_string": scope.query_string.encode("latin-1", "replace"),
        "root_path": "",
        "headers": [*headers, *((name, b"\xff") for name in sorted(hidden))],
        "client": (host.strip("[]"), int(port or 0)),
        "server": None,
        "state": {},
        "extensions": {},
    }


class _Answer:
    """ASGI's messages as one RSGI answer, whole where it comes whole."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 - RSGI's connection
        self._connection = connection
        self._start: tuple[int, list[tuple[str, str]]] = (500, [])
        self._stream: Any = None
        self.done = asyncio.Event()

    def close(self) -> None:
        """Drop the stream, which Granian ends when nothing refers to it any more.

        The app may keep a reference to this object.
        """
        self._stream = None
        self._connection = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in message["headers"]
            ]
            self._start = message["status"], headers
            return
        if message["type"] != "http.response.body":
            return
        body = message.get("body", b"")
        more = message.get("more_body", False)
        if not more:
            self.done.set()
        if self._stream is None and not more:
            self._connection.response_bytes(*self._start, bytes(body))
            return
        if self._stream is None:
            headers = [(name, value) for name, value in self._start[1] if name != "content-length"]
            self._stream = self._connection.response_stream(self._start[0], headers)
        if body:
            await self._stream.send_bytes(bytes(body))
