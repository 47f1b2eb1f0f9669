"""The floor of a streamed answer: reads the body, sends N constant chunks (path ``/N``). It must do
nothing else.
"""

from typing import Any

HEADERS = [("content-type", "text/event-stream; charset=utf-8")]
CHUNK = (
    b'data: {"id":"chatcmpl-0","object":"chat.completion.chunk","created":1704067200,"model":"gpt-4o","choices":'
    b'[{"index":0,"delta":{"content":"word"},"logprobs":null,"finish_reason":null}]}\n\n'
)


async def app(scope: Any, protocol: Any) -> None:
    """As many chunks as the path says."""
    await protocol()
    transport = protocol.response_stream(200, HEADERS)
    for _ in range(int(scope.path[1:])):
        await transport.send_bytes(CHUNK)
