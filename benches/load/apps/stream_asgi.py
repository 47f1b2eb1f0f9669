"""The floor of a streamed answer on ASGI, as ``stream_rsgi``. It must do nothing else."""

from typing import Any

from benches.load.apps.stream_rsgi import CHUNK

_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream; charset=utf-8")],
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """As many chunks as the path says."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send(_START)
    for _ in range(int(scope["path"][1:])):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
