"""Stream constant chunks on RSGI: the least work that a streamed answer takes there.

Measurements divide by the cost of this handler, so it must do nothing else.
"""

from typing import Any

HEADERS = [("content-type", "text/event-stream; charset=utf-8")]
CHUNK = (
    b'data: {"id":"chatcmpl-0","object":"chat.completion.chunk","created":1704067200,'
    b'"model":"gpt-4o","choices":[{"index":0,"delta":{"content":"word"},'
    b'"logprobs":null,"finish_reason":null}]}\n\n'
)


async def app(scope: Any, protocol: Any) -> None:
    """Read the body, then send N chunks if the path is ``/N``."""
    await protocol()
    transport = protocol.response_stream(200, HEADERS)
    for _ in range(int(scope.path[1:])):
        await transport.send_bytes(CHUNK)
