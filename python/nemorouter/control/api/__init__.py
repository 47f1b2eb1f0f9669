"""Serve the management API: JSON over the services, under ``/api/v1``.

One table of calls makes handlers and document.
"""

import re
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from blake3 import blake3
from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from nemorouter.control import auth, policy
from nemorouter.control.api import csv_text, hooks, keys, money, openapi, people, records
from nemorouter.control.api.call import Call, Route
from nemorouter.control.problems import MediaTypeError
from nemorouter.errors import NotFoundError, RefusedError
from nemorouter.services.fields.page import MAX_LIMIT
from nemorouter.services.transaction import idempotency

ROUTES: Final[tuple[Route, ...]] = (
    *keys.ROUTES,
    *people.ROUTES,
    *money.ROUTES,
    *records.ROUTES,
    *hooks.ROUTES,
)

_SECRETS: Final = ("key", "path", "secret")
"""Fields of an answer that are told once: a replay answers ``null``."""

_EXACT: Final = 1 << 53  # up to here a float is the number that was written

AnyRequest = Request[Any, Any, Any]


def routes() -> list[Any]:
    """Make the handlers of all calls."""
    return [_handler(route) for route in ROUTES] + [_document()]


def _handler(route: Route) -> HTTPRouteHandler:
    async def answer(request: AnyRequest) -> Response[Any]:
        return await respond(route, request)

    path = policy.API + route.path.replace("{id}", "{id:str}").replace("{model}", "{model:path}")
    status = 200 if route.answer is None else route.status  # the answer itself says 204
    return HTTPRouteHandler(path, http_method=route.method, status_code=status)(answer)  # type: ignore[arg-type]


def _document() -> HTTPRouteHandler:
    encoded = msgspec.json.encode(openapi.document(ROUTES))

    async def answer(request: AnyRequest) -> Response[bytes]:
        return Response(encoded, media_type="application/json")

    return HTTPRouteHandler(f"{policy.API}/openapi.json", http_method="GET")(answer)


async def respond(route: Route, request: AnyRequest) -> Response[Any]:
    """Decode, do, encode."""
    body = await request.body()
    id = request.path_params.get("id", "")
    if id and not re.fullmatch(openapi.ID, id):
        raise NotFoundError(
            "There is no such thing: this is not an id."
        )  # nor a name, which could be of several
    call = Call(
        context=auth.context_of(request),
        who=auth.require(request),
        id=id or str(request.path_params.get("model", "")).removeprefix("/"),
        body=_body(route, request, body),
        query=_query(route, request),
        headers=request.headers,
    )
    if route.rows is not None and "text/csv" in request.headers.get("accept", ""):
        return await _csv(route, call)
    key = request.headers.get("idempotency-key")
    if route.method == "POST" and key is not None:
        return await _once(
            route, call, key, blake3(f"{request.scope['path']}\0".encode() + body).digest()
        )
    return _answer(route.status, _encoded(route, await route.work(call)))


async def _once(route: Route, call: Call, key: str, body_hash: bytes) -> Response[Any]:
    """Run the call once for its ``Idempotency-Key``."""
    replay = await idempotency.begin(call.context, call.actor, key, body_hash)
    if replay is not None:
        response = _answer(replay.status, replay.answer)
        response.headers["idempotent-replayed"] = "true"
        return response
    try:
        done = await route.work(call)
    except RefusedError:
        await idempotency.forget(call.context, call.actor, key)
        raise
    secrets = {name: None for name in _SECRETS if route.status == 201 and hasattr(done, name)}
    masked = msgspec.structs.replace(done, **secrets) if secrets else done
    await idempotency.finish(call.context, call.actor, key, route.status, _encoded(route, masked))
    return _answer(route.status, _encoded(route, done))


def _encoded(route: Route, done: Any) -> bytes:  # noqa: ANN401 - any view
    return b"" if route.answer is None else msgspec.json.encode(done)


def _answer(status: int, body: bytes) -> Response[Any]:
    if status == 204:
        return Response(None, status_code=204)
    return Response(body, status_code=status, media_type="application/json")


async def _csv(route: Route, call: Call) -> Response[Any]:
    """Stream all rows from the cursor on, page after page.

    The first page is read before the answer begins.
    """
    query = msgspec.structs.replace(call.query, limit=MAX_LIMIT)
    first = await route.work(msgspec.structs.replace(call, query=query))

    async def chunks() -> AsyncIterator[bytes]:
        page = first
        yield csv_text.head(route.rows)
        while True:
            yield csv_text.lines(page.data)
            if page.next_cursor is None:
                return
            after = msgspec.structs.replace(query, cursor=page.next_cursor)
            page = await route.work(msgspec.structs.replace(call, query=after))

    name = route.path.strip("/")
    headers = {"content-disposition": f'attachment; filename="{name}.csv"'}
    return Stream(chunks(), media_type="text/csv; charset=utf-8", headers=headers)


def _body(route: Route, request: AnyRequest, body: bytes) -> Any:  # noqa: ANN401 - the route's type
    if route.body is None:
        if body:
            raise RefusedError("This call takes no body.")
        return None
    if not body and route.method == "POST" and not msgspec.structs.fields(route.body):
        return route.body()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise MediaTypeError
    try:
        return msgspec.convert(_whole(msgspec.json.decode(body)), route.body)
    except msgspec.ValidationError as error:
        raise _refused(error) from None
    except (msgspec.DecodeError, RecursionError):
        raise RefusedError("The body is not valid JSON.") from None


def _whole(value: Any) -> Any:  # noqa: ANN401 - JSON
    """``5.0`` is the number 5 to JSON, whatever a language makes of it."""
    match value:
        case float() if value.is_integer() and abs(value) <= _EXACT:
            return int(value)
        case list():
            return [_whole(item) for item in value]
        case dict():
            return {name: _whole(item) for name, item in value.items()}
    return value


def _query(route: Route, request: AnyRequest) -> Any:  # noqa: ANN401 - the route's type
    items = list(request.query_params.multi_items())
    values = dict(items)
    if len(values) != len(items):
        raise RefusedError("A parameter of the query is there twice.")
    if route.query is None:
        if values:
            raise RefusedError("This call takes no query.")
        return None
    try:
        query = msgspec.convert(values, route.query, strict=False)
        if any(getattr(query, name) is None for name in values):  # "null" is no number
            raise RefusedError("A parameter of the query is not what it must be.")
        return query
    except msgspec.ValidationError as error:
        raise _refused(error) from None


def _refused(error: msgspec.ValidationError) -> RefusedError:
    """Our words for what does not fit; the value itself is not repeated."""
    return RefusedError(str(error).replace("`", "") + ".")
