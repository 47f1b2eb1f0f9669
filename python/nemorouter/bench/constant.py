"""Answer every request with a constant: the least work that a handler on Granian can do.

Measurements divide by the cost of this handler, so it must do nothing else.
"""

from typing import Any

_HEADERS = [("content-type", "application/json")]
_BODY = b'{"id":"chatcmpl-0","object":"chat.completion","choices":[]}'


async def app(scope: Any, protocol: Any) -> None:  # noqa: ANN401 - Granian's own types
    """Answer path ``/unread`` without reading the body, and any other path after reading it."""
    if scope.path != "/unread":
        await protocol()
    protocol.response_bytes(200, _HEADERS, _BODY)
