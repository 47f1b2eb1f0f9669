"""Replay recorded exchanges: head, body and answer in, bytes and row out.

``cargo test`` replays the file through the exchange alone; here every driver does.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import pytest

from nemorouter import _core
from nemorouter.gateway.asgi import AsgiRequest
from nemorouter.gateway.driver import Driver
from nemorouter.gateway.forward import Forwarder
from nemorouter.gateway.wrapped.asgi import WrappedAsgi
from nemorouter.gateway.wrapped.rsgi import WrappedRsgi
from nemorouter.upstream.base import (
    Answer,
    Read,
    Request,
    UpstreamFailedError,
    UpstreamTimeoutError,
)
from tests.support.wires import bodies, gate

VECTORS = msgspec.json.decode((Path(__file__).parents[2] / "data" / "exchanges.json").read_bytes())
ROW = [
    *("status", "outcome", "endpoint", "model", "stream", "input_tokens", "cached_tokens"),
    *("output_tokens", "cost_nano", "ttft_us"),
]
MOST = 1000
ENDS: dict[str, type[Exception]] = {"failed": UpstreamFailedError, "late": UpstreamTimeoutError}
Vector = dict[str, Any]


def world(vector: Vector, *, wrapped: bool) -> tuple[Any, _core.Worker]:
    """Make a gate with a clock that stands still, and a worker with the vector's settings."""
    one = gate(clock=_core.ManualClock(), **vector["key"])
    worker = _core.Worker(
        one,
        routes=_core.Routes([["*"]] if wrapped else [["m", "e"]]),
        echo=0 if vector["echo"] else None,
        guard=_core.Guard(["/v1"]) if wrapped else None,
        trusted_proxies=vector["trusted"],
        max_body=MOST,
        max_headers=MOST,
        ietf=vector["ietf"],
    )
    return one, worker


class Chunks:
    """An answer in pieces, and how it ends."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self._chunks: Iterator[str] = iter(answer["chunks"])
        self._end: str = answer["end"]

    async def __aenter__(self) -> Read:
        return self._read

    async def _read(self) -> bytes | None:
        chunk = next(self._chunks, None)
        if chunk is None and self._end in ENDS:
            raise ENDS[self._end](self._end)
        return None if chunk is None else chunk.encode()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...


class Upstream:
    """Answers as the vector says."""

    name = "vector"
    instant = None

    def __init__(self, answer: dict[str, Any] | None) -> None:
        self._answer = answer
        self.sent = b""

    async def send(self, request: Request) -> Answer:
        self.sent = request.body
        answer = self._answer
        assert answer is not None, "nothing should be forwarded"
        if answer["status"] == 0:
            raise ENDS[answer["end"]](answer["end"])
        headers = [(name, value) for name, value in answer["headers"]]
        if "chunks" in answer:
            return Answer(answer["status"], headers, chunks=Chunks(answer))
        return Answer(answer["status"], headers, answer["body"].encode())

    async def close(self) -> None: ...


class Rsgi:
    """An RSGI scope and protocol of the vector, and what was answered."""

    http_version = "1.1"
    proto = "http"

    def __init__(self, vector: Vector) -> None:
        self._vector = vector
        self.method = vector["method"]
        self.path = vector["path"]
        self.client = f"{vector['peer']}:4711"
        self.query_string = vector["query"]
        self.headers: Any = self
        self.status = 0
        self.answer_headers: list[tuple[str, str]] = []
        self.answer = b""

    def items(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self._vector["headers"]]

    def get(self, key: str, default: str | None = None) -> str | None:
        return dict(self.items()).get(key, default)

    def __len__(self) -> int:
        return len(dict(self.items()))

    async def __call__(self) -> bytes:
        body: str = self._vector["body"]
        return body.encode()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield await self()

    async def client_disconnect(self) -> None:
        await asyncio.sleep(60)

    def response_bytes(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.answer_headers = headers
        self.answer = body

    def response_stream(self, status: int, headers: Any) -> "Rsgi":
        self.status = status
        self.answer_headers = headers
        return self

    async def send_bytes(self, data: bytes) -> None:
        self.answer += data


async def rsgi(vector: Vector, worker: _core.Worker, serve: Any, *, wrapped: bool) -> Any:
    wire: Any = Rsgi(vector)
    await Driver(worker, serve, _unexpected, max_body=MOST, bodies=bodies(), wrapped=wrapped)(
        wire, wire
    )
    return wire.status, wire.answer_headers, wire.answer


async def asgi(vector: Vector, worker: _core.Worker, serve: Any, *, wrapped: bool) -> Any:
    given = [(name.encode(), value.encode()) for name, value in vector["headers"]]
    scope: Any = {
        "type": "http",
        "method": vector["method"],
        "path": vector["path"],
        "root_path": vector["root"],
        "query_string": vector["query"].encode(),
        "client": (vector["peer"], 4711),
        "headers": given,
    }
    messages: list[Any] = [
        {"type": "http.request", "body": vector["body"].encode(), "more_body": False}
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message)

    request = AsgiRequest(scope, receive, send, MOST)
    await Driver(worker, serve, _unexpected, max_body=MOST, bodies=bodies(), wrapped=wrapped)(
        scope, request
    )
    await request.flush()
    start, *pieces = sent
    length = b"content-length"
    headers = [
        (name.decode(), value.decode()) for name, value in start["headers"] if name != length
    ]
    return start["status"], headers, b"".join(piece.get("body", b"") for piece in pieces)


async def _unexpected(*_: object) -> None:
    raise AssertionError("the vector is an exchange")


def app_of(answer: dict[str, Any]) -> Any:
    """Make an app that answers as the vector says, for both interfaces."""
    pieces = [piece.encode() for piece in answer.get("chunks", [answer.get("body", "")])]

    class App:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            head = [(name.encode(), value.encode()) for name, value in answer["headers"]]
            await send({"type": "http.response.start", "status": answer["status"], "headers": head})
            for at, piece in enumerate(pieces):
                more = at + 1 < len(pieces)
                await send({"type": "http.response.body", "body": piece, "more_body": more})

        async def __rsgi__(self, scope: Any, protocol: Any) -> None:
            headers = [(name, value) for name, value in answer["headers"]]
            if "chunks" not in answer:
                protocol.response_bytes(answer["status"], headers, pieces[0])
                return
            transport = protocol.response_stream(answer["status"], headers)
            for piece in pieces:
                await transport.send_bytes(piece)

    return App()


DRIVERS = {"rsgi": rsgi, "asgi": asgi}
CASES = [
    pytest.param(vector, driver, wrapped, id=f"{vector['name']}-{driver}-{wrapped}")
    for vector in VECTORS
    for driver in DRIVERS
    for wrapped in (False, True)
    if vector["mode"] in ("both", "wrapped" if wrapped else "gateway")
    if driver == "asgi" or not vector["root"]  # RSGI knows no root path
]


@pytest.mark.parametrize(("vector", "driver", "wrapped"), CASES)
async def test_every_driver_does_the_same(vector: Vector, driver: str, wrapped: bool) -> None:
    one, worker = world(vector, wrapped=wrapped)
    upstream: Any = Upstream(vector["answer"])
    serve: Any = Forwarder([upstream])
    if wrapped:
        app = app_of(vector["answer"] or {"status": 500, "headers": []})
        asgi_app = WrappedAsgi(app, one.arena, durable=False)
        serve = asgi_app if driver == "asgi" else WrappedRsgi(app, one.arena)
    found = await DRIVERS[driver](vector, worker, serve, wrapped=wrapped)
    assert told(found) == vector["out"]
    if "sent" in vector and not wrapped:
        assert upstream.sent.decode() == vector["sent"]
    rows = [{name: getattr(row, name) for name in ROW} for row in one.journal.rows()]
    assert rows == ([] if vector["row"] is None else [vector["row"]])


def told(found: Any) -> dict[str, Any]:
    """Return an answer as vectors write it, without the request's id."""
    status, headers, body = found
    identity = dict(headers)["x-nemo-request-id"][4:]
    text = body.decode().replace(identity, "ID")
    pairs = [[name, value.replace(identity, "ID")] for name, value in headers]
    return {"status": status, "headers": pairs, "body": text}
