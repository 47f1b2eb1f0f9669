"""Answer ``GET /v1/models``: the models that a key may use and an upstream serves.

It costs nothing and is no model call.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from nemorouter._core import Gate, Worker, no_such_model
from nemorouter.errors import Code
from nemorouter.gateway.wire import Connection, Scope, is_asgi
from nemorouter.upstream.routes import UpstreamRoutes

Known = Callable[[], Awaitable[Sequence[str]]]
"""Names of models that are known beside those an upstream names in full: the priced ones."""


class Models:
    """Both calls of the resource."""

    def __init__(self, worker: Worker, gate: Gate, routes: UpstreamRoutes, known: Known) -> None:
        self._worker = worker
        self._gate = gate
        self._routes = routes
        self._known = known

    async def __call__(self, model: str | None, scope: Scope, connection: Connection) -> None:
        """Answer the list, or one model."""
        asgi = is_asgi(scope)
        found = self._worker.identify(scope)
        if isinstance(found, tuple):
            connection.response_bytes(*found)
            return
        if model is None:
            names = sorted({*self._routes.models, *await self._known()})
            usable = [self._row(name) for name in names if self._may_use(found, name)]
            answer: dict[str, Any] = {"object": "list", "data": usable}
        elif self._may_use(found, model):
            answer = self._row(model)
        else:
            refusal = self._worker.refuse(Code.MODEL_NOT_FOUND, no_such_model(model), asgi=asgi)
            connection.response_bytes(*refusal)
            return
        connection.response_bytes(*self._worker.free(msgspec.json.encode(answer), asgi=asgi))

    def _may_use(self, index: int, name: str) -> bool:
        return self._routes.resolve(name) is not None and self._gate.may_use(index, name)

    def _row(self, name: str) -> dict[str, Any]:
        upstream = self._routes.resolve(name)
        owner = upstream.name if upstream is not None else ""
        return {"id": name, "object": "model", "created": 0, "owned_by": owner}
