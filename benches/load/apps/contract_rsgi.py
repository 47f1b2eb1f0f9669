"""Answer with constants that have the gateway's headers and as many bytes as its answers.

The cost of this handler is what the contract costs before anything is decided: it reads the
request's headers and writes those of the answer, and does nothing else.
"""

from typing import Any

JSON = ("content-type", "application/json")
OURS = [
    ("x-nemo-request-id", "req_476a66a21d42840b0000000000000001"),
    ("x-nemo-latency-ms", "0.398"),
]
HEADERS = [
    ("x-ratelimit-limit-requests", "1000000000"),
    ("x-ratelimit-limit-tokens", "1000000000"),
    ("x-ratelimit-remaining-requests", "1000000000"),
    ("x-ratelimit-remaining-tokens", "1000000000"),
    ("x-ratelimit-reset-requests", "0s"),
    ("x-ratelimit-reset-tokens", "0s"),
    JSON,
    *OURS,
    ("x-nemo-request-cost", "0.000167500"),
]
BODY = (
    b'{"id":"chatcmpl-476a66a21d42840b0000000000000001","object":"chat.completion",'
    b'"created":1704067200,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":"Say hello to the world, and be brief about it.","refusal":null},'
    b'"logprobs":null,"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":19,"completion_tokens":12,"total_tokens":31}}'
)
REFUSED = [JSON, ("www-authenticate", 'Bearer realm="nemorouter", error="invalid_token"'), *OURS]
REFUSAL = (
    b'{"error":{"message":"Invalid API key provided.",'
    b'"type":"authentication_error","code":"invalid_api_key"}}'
)


async def app(scope: Any, protocol: Any) -> None:
    """Answer path ``/unread`` with 401, and any other path with 200 after reading the body."""
    sent = dict(scope.headers.items())
    if "authorization" not in sent:
        protocol.response_bytes(400, [], b"")
    elif scope.path == "/unread":
        protocol.response_bytes(401, REFUSED, REFUSAL)
    else:
        await protocol()
        protocol.response_bytes(200, HEADERS, BODY)
