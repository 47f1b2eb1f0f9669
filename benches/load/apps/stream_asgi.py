"""Stream constant chunks on ASGI: the least work that a streamed answer takes there.

Measurements divide by the cost of this handler, so it must do nothing else.
"""

from typing import Any

from benches.load.apps.stream_rsgi import CHUNK

_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream; charset=utf-8")],
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Read the body, then send N chunks if the path is ``/N``."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send(_START)
    for _ in range(int(scope["path"][1:])):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
