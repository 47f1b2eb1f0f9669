"""Forward every request with the gateway's HTTP client, and decide and record nothing.

The cost of a forwarded answer is measured against this handler.
"""

import os
from typing import Any

from pyreqwest.client import ClientBuilder

from benches.load.apps.stream_rsgi import HEADERS as EVENTS

_client = ClientBuilder().no_proxy().tcp_nodelay(True).build()
_url = os.environ.get("BENCH_UPSTREAM", "")
_HEADERS = [("content-type", "application/json")]
_SENT = {"content-type": "application/json"}


async def app(scope: Any, protocol: Any) -> None:
    """Send the body to the same path of ``BENCH_UPSTREAM``; answer what comes back."""
    body = await protocol()
    if b'"stream":true' in body:
        await stream(scope.path, body, protocol)
        return
    response = await _client.post(_url + scope.path).headers(_SENT).body_bytes(body).build().send()
    protocol.response_bytes(response.status, _HEADERS, bytes(await response.bytes()))


async def stream(path: str, body: bytes, protocol: Any) -> None:
    """Send ``body`` upstream, and pass the answer on chunk by chunk."""
    builder = (
        _client.post(_url + path).headers(_SENT).body_bytes(body).streamed_read_buffer_limit(0)
    )
    async with builder.build_streamed() as response:
        transport = protocol.response_stream(response.status, EVENTS)
        while (chunk := await response.body_reader.read_chunk()) is not None:
            await transport.send_bytes(bytes(chunk))
