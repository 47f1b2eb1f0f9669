"""Route a request that is no model call to the part of the gateway that answers it.

Native code decides which resource a path names. What is no resource of the gateway goes to the
control plane, which this module does not know.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from nemorouter._core import Resource, Worker, problem
from nemorouter.errors import Code
from nemorouter.gateway import status
from nemorouter.gateway.models import Models
from nemorouter.gateway.status import StatusPages
from nemorouter.gateway.wire import Connection, Scope, is_asgi

Part = Callable[[Scope, Connection], Coroutine[Any, Any, None]]
"""Something that answers a request."""


class Router:
    """Everything that the gateway answers beside model calls."""

    __slots__ = ("_control", "_models", "_status", "_worker")

    def __init__(
        self, worker: Worker, models: Models, status: StatusPages, control: Part | None = None
    ) -> None:
        self._worker = worker
        self._models = models
        self._status = status
        self._control = control

    async def __call__(
        self, resource: Resource | None, scope: Scope, connection: Connection
    ) -> None:
        """Answer one request."""
        name = "elsewhere" if resource is None else resource.name
        if name == "health":
            connection.response_bytes(*status.health())
        elif name in ("ready", "metrics"):
            connection.response_bytes(*self._status(name))
        elif resource is not None and name in ("models", "model"):
            await self._models(resource.model, scope, connection)
        elif self._control is not None and getattr(scope, "proto", "http") == "http":
            await self._control(scope, connection)
        else:
            answer = self._worker.refuse(Code.UNKNOWN_URL, asgi=is_asgi(scope))
            connection.response_bytes(*answer)


async def not_ready(scope: Any, connection: Connection) -> None:  # noqa: ANN401 - either server's
    """Answer before the start is complete."""
    path = scope["path"] if is_asgi(scope) else scope.path
    if path.endswith("/healthz"):
        connection.response_bytes(*status.health())
    else:
        connection.response_bytes(*problem(Code.NOT_READY))
