"""``GET /v1/models``: the models that a key may use and an upstream serves. It costs nothing and is
no model call.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec

from nemorouter.errors import Code
from nemorouter.gateway import paths, problems
from nemorouter.gateway.pipeline import Pipeline
from nemorouter.gateway.wire import Connection, Scope
from nemorouter.types import Endpoint
from nemorouter.upstream.routes import Routes

Known = Callable[[], Awaitable[Sequence[str]]]
"""Names of models that are known beside those an upstream names in full: the priced ones."""


class Models:
    """Both calls of the resource."""

    def __init__(self, pipeline: Pipeline[Any], routes: Routes, known: Known) -> None:
        self._pipeline = pipeline
        self._routes = routes
        self._known = known

    async def __call__(self, scope: Scope, connection: Connection) -> None:
        """Answer the list, or one model."""
        gate = self._pipeline.gate
        started = gate.now_us()
        index = self._pipeline.identify(scope, Endpoint.MODELS)
        if index < 0:
            self._pipeline.refuse(connection, started, -index)
            return
        if scope.path == paths.MODELS:
            names = sorted({*self._routes.models, *await self._known()})
            usable = [
                self._row(name)
                for name in names
                if self._serves(name) and gate.may_use(index, name)
            ]
            answer: dict[str, Any] = {"object": "list", "data": usable}
        else:
            name = unquote(scope.path[len(paths.MODEL) :])
            if not self._serves(name) or not gate.may_use(index, name):
                message = problems.no_such_model(name)
                self._pipeline.refuse(connection, started, Code.MODEL_NOT_FOUND, message)
                return
            answer = self._row(name)
        headers = gate.untaken_headers([("content-type", "application/json")], started)
        connection.response_bytes(200, headers, msgspec.json.encode(answer))

    def _serves(self, name: str) -> bool:
        return self._routes.resolve(name) is not None

    def _row(self, name: str) -> dict[str, Any]:
        route = self._routes.resolve(name)
        owner = route.upstream.name if route is not None else ""
        return {"id": name, "object": "model", "created": 0, "owned_by": owner}
