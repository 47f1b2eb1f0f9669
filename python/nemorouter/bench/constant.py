"""The floor: a handler that answers a constant, with and without reading the body. It must do
nothing else.
"""

from typing import Any

_HEADERS = [("content-type", "application/json")]
_BODY = b'{"id":"chatcmpl-0","object":"chat.completion","choices":[]}'


async def app(scope: Any, protocol: Any) -> None:  # noqa: ANN401 - Granian's own types
    """Path ``/unread`` answers without the body; any other path reads it first."""
    if scope.path != "/unread":
        await protocol()
    protocol.response_bytes(200, _HEADERS, _BODY)
