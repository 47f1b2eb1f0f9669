"""Stand in for a provider: answer a constant chat completion with its usage.

The answer comes whole, or in 50 chunks if the body asks for a stream. All servers that forward are
measured with this provider behind them, so it must do nothing else.
"""

from typing import Any

from benches.load.apps.stream_rsgi import CHUNK
from benches.load.apps.stream_rsgi import HEADERS as EVENTS

HEADERS = [("content-type", "application/json")]
BODY = (
    b'{"id":"chatcmpl-0","object":"chat.completion","created":1704067200,"model":"gpt-4o",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"Hello, world.",'
    b'"refusal":null},"logprobs":null,"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":24,"completion_tokens":4,"total_tokens":28}}'
)
CHUNKS = [
    *([CHUNK] * 48),
    b'data: {"id":"chatcmpl-0","object":"chat.completion.chunk","created":1704067200,'
    b'"model":"gpt-4o","choices":[],'
    b'"usage":{"prompt_tokens":24,"completion_tokens":48,"total_tokens":72}}\n\n',
    b"data: [DONE]\n\n",
]


async def app(scope: Any, protocol: Any) -> None:
    """Read the body and answer, whatever the path."""
    if b'"stream":true' not in await protocol():
        protocol.response_bytes(200, HEADERS, BODY)
        return
    transport = protocol.response_stream(200, EVENTS)
    for chunk in CHUNKS:
        await transport.send_bytes(chunk)
