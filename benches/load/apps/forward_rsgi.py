"""The floor of a forwarded answer: Granian and the HTTP client of the gateway. It decides and records nothing."""

import os
from typing import Any

from pyreqwest.client import ClientBuilder

_client = ClientBuilder().no_proxy().tcp_nodelay(True).build()
_url = os.environ.get("BENCH_UPSTREAM", "")
_HEADERS = [("content-type", "application/json")]
_SENT = {"content-type": "application/json"}


async def app(scope: Any, protocol: Any) -> None:
    """Body there, answer back."""
    body = await protocol()
    response = await _client.post(_url + scope.path).headers(_SENT).body_bytes(body).build().send()
    protocol.response_bytes(response.status, _HEADERS, bytes(await response.bytes()))
