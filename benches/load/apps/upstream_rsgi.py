"""A local provider: reads the body, answers a constant chat completion with its usage. It must do nothing else."""

from typing import Any

HEADERS = [("content-type", "application/json")]
BODY = (
    b'{"id":"chatcmpl-0","object":"chat.completion","created":1704067200,"model":"gpt-4o","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"Hello, world.","refusal":null},"logprobs":null,"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":24,"completion_tokens":4,"total_tokens":28}}'
)


async def app(scope: Any, protocol: Any) -> None:
    """The same for every path."""
    await protocol()
    protocol.response_bytes(200, HEADERS, BODY)
