"""Test a client that leaves, at each stage and under each server.

The request is settled exactly once, and the upstream's work is ended.
"""

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nemorouter.types import Outcome
from tests.support.servers import Host, Server, chat, until
from tests.support.upstreams import FakeUpstream


@dataclass
class Gateway:
    """A gateway in front of the fake provider."""

    host: Host
    server: Server
    upstream: FakeUpstream
    key: str


@pytest.fixture(params=["rsgi", "asgi", "uvicorn"])
def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gateway]:
    with FakeUpstream() as upstream:
        host = Host(
            tmp_path, {"upstreams": upstream.settings(), "upstream_first_byte_timeout": 2.0}
        )
        key = host.key()
        with host.serve(request.param) as server:
            yield Gateway(host, server, upstream, key)


def leave(
    gateway: Gateway, model: str, *, sent: float = 1, read: int = 0, after: float = 0, **fields: Any
) -> None:
    """Send a part of a request, read a part of its answer, wait, and close the connection."""
    body = msgspec.json.encode(chat(model, **fields))
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {gateway.key}\r\n"
    )
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    payload = head.encode() + body[: int(len(body) * sent)]
    with socket.create_connection(("127.0.0.1", gateway.server.port), 10) as client:
        client.sendall(payload)
        while read > 0:
            read -= len(client.recv(read))
        time.sleep(after)


def test_each_stage(gateway: Gateway) -> None:
    leave(gateway, "fake-ok", sent=0, after=0.1)  # before the body
    leave(gateway, "fake-ok", sent=0.5, after=0.1)  # amid the body
    leave(gateway, "fake-wait", after=0.3)  # while the upstream thinks
    (row,) = gateway.host.rows(1)
    assert (row["outcome"], row["status"], row["output_tokens"]) == (Outcome.CLIENT_GONE, 0, 0)
    assert row["input_tokens"] == -(-len(msgspec.json.encode(chat("fake-wait"))) // 4)
    until(
        lambda: gateway.upstream.seen[-1].cancelled, what="the upstream still works"
    )  # ends with the time-out

    leave(gateway, "fake-stream-slow", read=1200, stream=True)  # amid the stream
    row = gateway.host.rows(2)[-1]
    assert (row["outcome"], row["status"]) == (Outcome.CLIENT_GONE, 200)
    assert 1 <= row["output_tokens"] <= 100  # what was produced until then
    until(lambda: gateway.upstream.seen[-1].cancelled, what="the upstream still streams")

    assert gateway.server.call(body=chat("fake-ok"), key=gateway.key).status == 200
    assert len(gateway.host.rows(3)) == 3
    assert "Traceback" not in gateway.server.log.read_text()
