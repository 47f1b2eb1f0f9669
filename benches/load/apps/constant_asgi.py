"""The floor on ASGI: a handler that answers a constant, with and without reading the body. It must
do nothing else.
"""

from typing import Any

_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json")],
}
_BODY = {
    "type": "http.response.body",
    "body": b'{"id":"chatcmpl-0","object":"chat.completion","choices":[]}',
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Path ``/unread`` answers without the body; any other path reads it first."""
    if scope["type"] != "http":
        return
    if scope["path"] != "/unread":
        while (await receive()).get("more_body"):
            pass
    await send(_START)
    await send(_BODY)
