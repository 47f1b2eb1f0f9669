"""Put the gateway's request path in front of any ASGI or RSGI app, which answers as an upstream.

No guarded request reaches the app without a ticket.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from nemorouter import log
from nemorouter._core import Guard, Resource, Routes
from nemorouter.app import explained, new_worker, open_gate, wake_agent
from nemorouter.bodies import Bodies
from nemorouter.errors import ConfigurationError
from nemorouter.gateway import asgi
from nemorouter.gateway.driver import Driver
from nemorouter.gateway.host import has_one_host, refuse_host
from nemorouter.gateway.router import not_ready
from nemorouter.gateway.wire import Connection, Scope
from nemorouter.gateway.wrapped.asgi import WrappedAsgi
from nemorouter.gateway.wrapped.rsgi import WrappedRsgi
from nemorouter.settings import Settings

_log = log.get_logger(__name__)


class NemoAuth:
    """Guards ``paths`` of ``app`` (default: all of ``/v1``); everything else passes untouched.

    A path counts less the root path that the app is mounted below, and in whatever spelling a
    framework may read it. The app finds ``scope["state"]["nemorouter"]`` (``wrapped.Caller``). On
    OpenAI's endpoints a JSON body is read for model and limits; any other guarded request costs one
    request and no tokens.
    """

    def __init__(self, app: Any, settings: Settings, *, paths: Sequence[str] = ("/v1",)) -> None:  # noqa: ANN401
        log.configure(settings.log_level)
        self._app = app
        self._settings = settings
        try:
            self._guard = Guard(list(paths))
        except ValueError as error:
            raise ConfigurationError(f"paths: {error}.") from error
        self._open = AsyncExitStack()
        self._driver: Driver | None = None
        self._reported = False

    async def __call__(self, scope: asgi.AsgiScope, receive: asgi.Receive, send: asgi.Send) -> None:
        """ASGI 3."""
        if scope["type"] == "lifespan":
            await asgi.wrap_lifespan(self._app, scope, receive, send, self._start_asgi, self.stop)
        elif not self._guard(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            request = asgi.AsgiRequest(scope, receive, send, self._settings.max_body_bytes)
            await self._answer(scope, request)
            await request.flush()
        else:
            # A socket has no request to settle.
            await send({"type": "websocket.close", "code": 1008})

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        with explained():
            self._start_rsgi(loop)
        if hasattr(self._app, "__rsgi_init__"):
            self._app.__rsgi_init__(loop)

    def _start_rsgi(self, loop: asyncio.AbstractEventLoop) -> None:
        if not hasattr(self._app, "__rsgi__"):
            raise ConfigurationError(
                "The wrapped app speaks ASGI only: serve it with Granian's `--interface asgi`."
            )
        if self._settings.durability == "commit":
            raise ConfigurationError(
                "RSGI sends whole answers at once, so their end cannot wait for a commit. With "
                'durability = "commit", serve a wrapped app with Granian\'s `--interface asgi`.'
            )
        loop.run_until_complete(self._start(rsgi=True))

    async def __rsgi__(self, scope: Scope, connection: Any) -> None:  # noqa: ANN401 - HTTP's or a socket's
        if not self._guard(scope):
            await self._app.__rsgi__(scope, connection)
        elif scope.proto == "ws":
            connection.close(403)  # a socket has no request to settle
        else:
            await self._answer(scope, connection)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        if hasattr(self._app, "__rsgi_del__"):
            self._app.__rsgi_del__(loop)
        loop.run_until_complete(self.stop())

    async def _start_asgi(self) -> None:
        await self._start(rsgi=False)

    async def _start(self, *, rsgi: bool) -> None:
        """Open the gate. ConfigurationError where something cannot be used."""
        settings = self._settings
        gate, _ = await open_gate(settings, ["app"], self._open)
        durable = settings.durability == "commit"
        serve: WrappedAsgi | WrappedRsgi = (
            WrappedRsgi(self._app, gate.arena)
            if rsgi
            else WrappedAsgi(self._app, gate.arena, durable=durable)
        )
        worker = new_worker(gate, settings, Routes([["*"]]), guard=self._guard)
        self._driver = Driver(
            worker,
            serve,
            _unguarded,
            max_body=settings.max_body_bytes,
            bodies=Bodies.of_calls(settings),
            wake=wake_agent(settings, self._open),
            durable=durable,
            wrapped=True,
        )

    async def stop(self) -> None:
        """Refuse what comes now, and close the gate."""
        self._driver = None
        await self._open.aclose()

    async def _answer(self, scope: Any, connection: Connection) -> None:  # noqa: ANN401 - either server's
        if not has_one_host(scope):
            await refuse_host(scope, connection)
            return
        if self._driver is not None:
            await self._driver(scope, connection)
            return
        if not self._reported:
            self._reported = True
            _log.error(
                "nemoauth_not_started",
                cause="The server sent no lifespan startup event: it runs with its lifespan off, "
                "or NemoAuth is mounted in an app that does not pass lifespan events on.",
            )
        await not_ready(scope, connection)


async def _unguarded(resource: Resource | None, scope: Scope, connection: Connection) -> None:
    """Never called: ``NemoAuth`` passes guarded requests alone to its driver."""
    raise RuntimeError("an unguarded request came to the driver")
