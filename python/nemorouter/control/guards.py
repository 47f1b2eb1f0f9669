"""Guard every route: identify the caller, and check that a change comes from our own pages.

What is not in the policy table is denied.
"""

from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.exceptions import MethodNotAllowedException
from litestar.handlers import BaseRouteHandler

from nemorouter.control import auth, csrf, policy
from nemorouter.errors import ForbiddenError


async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Litestar runs it before each handler. What the caller may do is the services' to say."""
    assert isinstance(connection, Request)  # noqa: S101 - there are no websockets here
    method = connection.method
    access = policy.access(method, connection.scope["path_template"])
    changes = method not in csrf.SAFE
    if access is None:
        raise MethodNotAllowedException()
    if access == policy.PUBLIC:
        if changes:
            csrf.check_origin(connection)
        return
    signed = await auth.identify(connection)
    if not signed.session and (
        access == policy.SESSION or not connection.scope["path"].startswith(policy.API)
    ):
        raise ForbiddenError("A management key works under /api/v1 only.")
    if signed.session and changes:
        csrf.check_origin(connection)
        await csrf.check_token(connection, signed.csrf)
