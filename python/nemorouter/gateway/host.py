"""Refuse requests whose host is not said once, before anything else is decided of them.

Servers let them pass. Two programs in a row could take one request for two hosts' (RFC 9112 §3.2).
"""

from typing import Any, Final

from nemorouter._core import problem
from nemorouter.errors import Code
from nemorouter.gateway.wire import Connection, is_asgi

_TOLD: Final = "host: expected one."


def has_one_host(scope: Any) -> bool:  # noqa: ANN401 - either server's
    """Return true if a request names one host; HTTP/1.0 and HTTP/2 need not, in a header."""
    if is_asgi(scope):
        hosts = [value for name, value in scope["headers"] if name == b"host"]
    else:
        hosts = scope.headers.get_all("host")
    if len(hosts) == 1 and hosts[0]:
        return True
    version = scope.get("http_version", "1.1") if is_asgi(scope) else scope.http_version
    return len(hosts) <= 1 and version != "1.1"


async def refuse_host(scope: Any, connection: Connection) -> None:  # noqa: ANN401 - either server's
    """Answer a request that names no host, or several."""
    status, headers, body = problem(Code.INVALID_REQUEST, _TOLD)
    connection.response_bytes(status, [*headers, ("connection", "close")], body)
