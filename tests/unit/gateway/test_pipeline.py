"""Every path through the pipeline settles once and answers once, whatever goes wrong inside."""

import asyncio
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from nemorouter._core import Call
from nemorouter.gateway.forward import Forwarder
from nemorouter.gateway.wire import ClientGoneError, Connection, Scope
from nemorouter.types import Endpoint, Outcome
from nemorouter.upstream.base import Answer, Ready, Request, Upstream, UpstreamFailedError
from tests.unit.gateway.wires import KEY, Wire, gate, pipeline

JSON = [("content-type", "application/json")]


class Scripted:
    """An upstream that does what it is told."""

    name = "scripted"

    def __init__(self, result: Answer | BaseException) -> None:
        self.result = result

    async def send(self, request: Request) -> Answer:
        return self.instant(request.endpoint, request.body, request.request_id)

    def instant(self, endpoint: int, body: bytes, request_id: str) -> Answer:
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result

    async def close(self) -> None: ...


async def run(module: ModuleType, result: Answer | BaseException, wire: Wire) -> list[Any]:
    """Answer one request; its rows."""
    one = gate(module)
    forward = Forwarder(ietf_headers=False)
    await pipeline(one, Scripted(result), forward)(wire, wire, Endpoint.CHAT_COMPLETIONS)
    rows: list[Any] = one.journal.rows()
    assert len(rows) == 1
    return rows


async def test_a_fault_of_ours_is_told_by_its_id_alone(
    gate_module: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    wire = Wire()
    (row,) = await run(gate_module, ZeroDivisionError("a secret cause"), wire)
    identity = dict(wire.answer_headers)["x-nemo-request-id"]
    assert (wire.status, wire.code) == (500, "internal_error")
    assert identity.encode() in wire.answer
    assert b"secret" not in wire.answer
    assert (row[11], row[12], row[14], row[16]) == (500, Outcome.UPSTREAM_ERROR, 0, 0)
    logged = capsys.readouterr()
    assert (logged.out + logged.err).count("a secret cause") == 1
    assert KEY not in logged.out + logged.err


def _broken_stream(error: BaseException) -> Iterator[bytes]:
    yield b'data: {"choices":[{"delta":{"content":"abcdefgh"}}]}\n\n'
    raise error


async def test_an_upstream_that_breaks_off(gate_module: ModuleType) -> None:
    wire = Wire()
    answer = Answer(
        200,
        [("content-type", "text/event-stream")],
        chunks=Ready(_broken_stream(UpstreamFailedError("x"))),
    )
    (row,) = await run(gate_module, answer, wire)
    assert wire.answer.endswith(b'"code":"upstream_failed"}}\n\n')
    assert (row[11], row[12], row[16]) == (200, Outcome.UPSTREAM_ERROR, 2)


async def test_a_fault_amid_a_stream_breaks_it_off(gate_module: ModuleType) -> None:
    answer = Answer(
        200, [("content-type", "text/event-stream")], chunks=Ready(_broken_stream(KeyError("x")))
    )
    one = gate(gate_module)
    wire = Wire()
    with pytest.raises(ConnectionAbortedError):
        await pipeline(one, Scripted(answer), Forwarder(ietf_headers=False))(
            wire, wire, Endpoint.CHAT_COMPLETIONS
        )
    (row,) = one.journal.rows()
    assert (row[12], row[16]) == (Outcome.UPSTREAM_ERROR, 2)


async def test_a_stopped_server_settles(gate_module: ModuleType) -> None:
    one = gate(gate_module)

    async def never(_: Upstream, call: Call, scope: Scope, connection: Connection) -> None:
        await asyncio.sleep(3600)

    wire = Wire()
    task = asyncio.create_task(pipeline(one, None, never)(wire, wire, Endpoint.CHAT_COMPLETIONS))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (row,) = one.journal.rows()
    assert row[12] == Outcome.CLIENT_GONE


async def test_a_client_that_cannot_be_reached(gate_module: ModuleType) -> None:
    one = gate(gate_module)

    async def gone(_: Upstream, call: Call, scope: Scope, connection: Connection) -> None:
        raise ClientGoneError

    wire = Wire()
    await pipeline(one, None, gone)(wire, wire, Endpoint.CHAT_COMPLETIONS)
    (row,) = one.journal.rows()
    assert (row[11], row[12], wire.status) == (0, Outcome.CLIENT_GONE, 0)


async def test_a_refusal_leaves_no_row(gate_module: ModuleType) -> None:
    one = gate(gate_module, rpm=0)
    wire = Wire()
    forward = Forwarder(ietf_headers=True)
    answering = pipeline(one, Scripted(Answer(200, JSON)), forward, ietf_rate_limit_headers=True)
    await answering(wire, wire, Endpoint.CHAT_COMPLETIONS)
    headers = dict(wire.answer_headers)
    assert (wire.status, wire.code) == (429, "rate_limit_exceeded")
    assert headers["x-should-retry"] == "false"
    assert headers["ratelimit-policy"] == '"requests";q=0;w=60'
    assert one.journal.rows() == []


async def test_a_frozen_word_is_waited_for(
    gate_module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = gate(gate_module)
    refusals = [15, 15]

    class Later:
        def __getattr__(self, name: str) -> Any:
            return getattr(one, name)

        def begin(self, *request: Any) -> Any:
            return _refusal(refusals.pop()) if refusals else one.begin(*request)

    wire = Wire()
    body = b'{"usage":{"prompt_tokens":1,"completion_tokens":1}}'
    later: Any = Later()
    await pipeline(later, Scripted(Answer(200, JSON, body)), Forwarder(ietf_headers=False))(
        wire, wire, 0
    )
    assert wire.status == 200
    assert dict(wire.answer_headers)["x-nemo-request-cost"] == "0.000002000"


def _refusal(code: int) -> Any:
    return type("Refusal", (), {"code": code, "retry_after_us": None, "index": 0})()
