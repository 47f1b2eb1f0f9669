"""The front door: which path leads where. Below ``/v1`` everything that is not listed in ``paths``
is unknown; the rest is the control plane's, which it is handed and does not know.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from nemorouter.errors import Code
from nemorouter.gateway import paths, problems, status
from nemorouter.gateway.models import Models
from nemorouter.gateway.pipeline import Pipeline
from nemorouter.gateway.status import Status
from nemorouter.gateway.wire import Connection, Scope

Part = Callable[[Scope, Connection], Coroutine[Any, Any, None]]
"""Something that answers a request."""


class Front:
    """All that the gateway answers, once it is ready."""

    __slots__ = ("_answer", "_calls", "_control", "_models", "_pipeline", "_status")

    def __init__(
        self, pipeline: Pipeline[Any], models: Models, status: Status, control: Part | None = None
    ) -> None:
        self._calls = dict(paths.POST)
        self._pipeline = pipeline
        self._answer = pipeline.__call__  # bound once: to call an object is to look for its method
        self._models = models
        self._status = status
        self._control = control

    def __call__(self, scope: Scope, connection: Connection) -> Coroutine[Any, Any, None]:
        """The work of answering one request."""
        endpoint = self._calls.get(scope.path)
        if endpoint is not None and scope.method == "POST":
            return self._answer(scope, connection, endpoint)
        return self._other(scope, connection)

    async def _other(self, scope: Scope, connection: Connection) -> None:
        path, method = scope.path, scope.method
        allow = paths.allowed(path)
        if (
            allow is None
            and self._control is not None
            and path != "/v1"
            and not path.startswith("/v1/")
        ):
            await self._control(scope, connection)
        elif allow is None:
            self._refuse(connection, Code.UNKNOWN_URL)
        elif method not in allow.split(", "):
            self._refuse(connection, Code.METHOD_NOT_ALLOWED, ("allow", allow))
        elif path == paths.HEALTH:
            connection.response_bytes(*status.health())
        elif path in (paths.READY, paths.METRICS):
            connection.response_bytes(*self._status(path))
        else:
            await self._models(scope, connection)

    def _refuse(self, connection: Connection, code: Code, *extra: tuple[str, str]) -> None:
        answer_status, headers, body = problems.answer(code)
        gate = self._pipeline.gate
        connection.response_bytes(
            answer_status, gate.untaken_headers([*headers, *extra], gate.now_us()), body
        )


async def not_ready(scope: Scope, connection: Connection) -> None:
    """What is answered before the start is complete."""
    answer = status.health() if scope.path == paths.HEALTH else problems.answer(Code.NOT_READY)
    connection.response_bytes(*answer)
