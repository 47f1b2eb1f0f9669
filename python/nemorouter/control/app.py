"""Build the control plane as an ASGI app: routes, one guard, one error handler, shared headers.

``bridge`` builds it when it is first needed. The request path must never import it.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.response import Redirect

from nemorouter.control import api, auth, pages, policy, problems
from nemorouter.control.guards import guard
from nemorouter.control.problems import NotSignedInError
from nemorouter.services.transaction.context import Context
from nemorouter.settings import Settings

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

HEADERS: Final = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
        b"form-action 'self'; "
        b"base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
_NO_STORE: Final = (b"cache-control", b"no-store")
_HSTS: Final = (b"strict-transport-security", b"max-age=31536000")


class _SafetyHeaders:
    """Puts the headers of safety on every answer, whoever made it."""

    def __init__(self, app: Any, settings: Settings) -> None:  # noqa: ANN401 - an ASGI app
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:  # noqa: ANN401 - ASGI
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                names = {name.lower() for name, _ in given}
                extra = [header for header in HEADERS if header[0] not in names]
                if b"cache-control" not in names:
                    extra.append(_NO_STORE)
                if auth.speaks_https(scope, self._settings):
                    extra.append(_HSTS)
                message["headers"] = [*given, *extra]
            await send(message)

        await self._app(scope, receive, sending)


def create_control(context: Context, settings: Settings) -> Any:  # noqa: ANN401 - an ASGI app
    """Make the control plane of one worker, on a store that is open."""
    return _SafetyHeaders(litestar(context, settings), settings)


def litestar(context: Context, settings: Settings) -> Litestar:
    """Make the routes. RuntimeError: a route is not in the policy table."""
    app = Litestar(
        route_handlers=[*api.routes(), *pages.routes()],
        guards=[guard],
        exception_handlers={Exception: answer_error},
        state=State({"context": context, "settings": settings}),
        request_max_body_size=policy.MAX_BODY,
        openapi_config=None,
        logging_config=None,
        debug=False,
        pdb_on_exception=False,
    )
    missing = [route for route in served(app) if route not in policy.ROUTES]
    if missing:
        raise RuntimeError(f"Not in the policy table: {', '.join(missing)}")
    return app


def served(app: Litestar) -> list[str]:
    """Every route as the policy table spells it."""
    found = []
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            methods = getattr(handler, "http_methods", ())
            found += [f"{method} {route.path_format}" for method in sorted(methods)]
    return [route for route in found if not route.startswith("OPTIONS ")]


def answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Answer any exception of a route: with JSON to a program, with a page to a browser."""
    found = problems.problem(error)
    extra = problems.headers(error, found, request.scope["path"])
    if not _wants_page(request):
        return Response(
            problems.body(found),
            status_code=found.status,
            headers=extra,
            media_type="application/json",
        )
    if isinstance(error, NotSignedInError):
        return Redirect("/login", status_code=303)
    page = pages.problem(found)
    page.headers.update(extra)
    return page


def _wants_page(request: Request[Any, Any, Any]) -> bool:
    """Return whether a browser asks for something outside the management API."""
    accepts = request.headers.get("accept", "")
    return not request.scope["path"].startswith("/api/") and "text/html" in accepts
