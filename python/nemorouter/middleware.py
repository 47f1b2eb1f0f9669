"""NemoAuth: the gateway's pipeline in front of any ASGI (or RSGI) app, which answers in the place
of an upstream.

It must never let a guarded request reach the app without a ticket.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from nemorouter.app import explained, open_gate, wake_agent
from nemorouter.errors import ConfigurationError
from nemorouter.gateway import asgi, paths
from nemorouter.gateway.front import not_ready
from nemorouter.gateway.guard import Guard
from nemorouter.gateway.pipeline import Pipeline
from nemorouter.gateway.wire import Connection, Scope
from nemorouter.gateway.wrapped import Wrapped
from nemorouter.gateway.wrapped_rsgi import WrappedRsgi
from nemorouter.settings import Settings
from nemorouter.types import Endpoint
from nemorouter.upstream.routes import Route, names_a_key


class NemoAuth:
    """Guards ``paths`` of ``app`` (default: all of ``/v1``); everything else passes through
    untouched.

    The app finds ``scope["state"]["nemorouter"]`` (``wrapped.Caller``). On OpenAI's endpoints a
    JSON body is read for model and limits; any other guarded request costs one request and no
    tokens.
    """

    def __init__(self, app: Any, settings: Settings, *, paths: Sequence[str] = ("/v1",)) -> None:  # noqa: ANN401
        self._app = app
        self._settings = settings
        self._guard = Guard(paths)
        self._open = AsyncExitStack()
        self._pipeline: Pipeline[Any] | None = None

    async def __call__(self, scope: asgi.AsgiScope, receive: asgi.Receive, send: asgi.Send) -> None:
        """ASGI 3."""
        if scope["type"] == "lifespan":
            await asgi.around(self._app, scope, receive, send, self._start_asgi, self.stop)
        elif not self._guard(scope["path"]):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            request = asgi.AsgiRequest(scope, receive, send)
            await self._answer(request, request)
            await request.flush()
        else:
            await send(
                {"type": "websocket.close", "code": 1008}
            )  # a socket has no request to settle

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
                'RSGI sends whole answers at once, so their end cannot wait for a commit. With durability = "commit", '
                "serve a wrapped app with Granian's `--interface asgi`."
            )
        loop.run_until_complete(
            self._start(WrappedRsgi(ietf_headers=self._settings.ietf_rate_limit_headers))
        )

    async def __rsgi__(self, scope: Scope, connection: Connection) -> None:
        if self._guard(scope.path):
            await self._answer(scope, connection)
        else:
            await self._app.__rsgi__(scope, connection)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        if hasattr(self._app, "__rsgi_del__"):
            self._app.__rsgi_del__(loop)
        loop.run_until_complete(self.stop())

    async def _start_asgi(self) -> None:
        settings = self._settings
        durable = settings.durability == "commit"
        await self._start(Wrapped(ietf_headers=settings.ietf_rate_limit_headers, durable=durable))

    async def _start(self, serve: Wrapped | WrappedRsgi) -> None:
        """Open the gate. ConfigurationError where something cannot be used."""
        gate, _ = await open_gate(self._settings, ["app"], self._open)
        route = Route(self._app, 0)
        self._pipeline = Pipeline(
            gate,
            self._settings,
            lambda model: None if names_a_key(model) else route,
            serve,
            wake_agent(self._settings, self._open),
        )

    async def stop(self) -> None:
        """Refuse what comes now, and close the gate."""
        self._pipeline = None
        await self._open.aclose()

    async def _answer(self, scope: Scope, connection: Connection) -> None:
        if self._pipeline is None:
            await not_ready(scope, connection)
            return
        endpoint = paths.POST.get(scope.path) if scope.method == "POST" else None
        await self._pipeline(scope, connection, Endpoint.MODELS if endpoint is None else endpoint)
