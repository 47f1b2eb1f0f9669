"""Every path through the driver settles once and answers once, whatever goes wrong inside."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from nemorouter._core import Exchange, Worker
from nemorouter.gateway.wire import ClientGoneError, Connection, Scope
from nemorouter.types import Duration, Outcome
from nemorouter.upstream.base import Answer, Ready, Request, UpstreamFailedError
from tests.support.wires import BODY, KEY, Wire, driver, gate, key_policy

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


async def run(result: Answer | BaseException, wire: Wire) -> list[Any]:
    """Answer one request; its rows."""
    one = gate()
    await driver(one, Scripted(result))(wire, wire)
    rows: list[Any] = one.journal.rows()
    assert len(rows) == 1
    return rows


async def test_a_fault_of_ours_is_told_by_its_id_alone(capsys: pytest.CaptureFixture[str]) -> None:
    wire = Wire()
    (row,) = await run(ZeroDivisionError("a secret cause"), wire)
    identity = dict(wire.answer_headers)["x-nemo-request-id"]
    assert (wire.status, wire.code) == (500, "internal_error")
    assert identity.encode() in wire.answer
    assert b"secret" not in wire.answer
    assert (row.status, row.outcome, row.input_tokens, row.output_tokens) == (
        500,
        Outcome.UPSTREAM_ERROR,
        0,
        0,
    )
    logged = capsys.readouterr()
    assert (logged.out + logged.err).count("a secret cause") == 1
    assert KEY not in logged.out + logged.err


def _broken_stream(error: BaseException) -> Iterator[bytes]:
    yield b'data: {"choices":[{"delta":{"content":"abcdefgh"}}]}\n\n'
    raise error


async def test_an_upstream_that_breaks_off() -> None:
    wire = Wire()
    answer = Answer(
        200,
        [("content-type", "text/event-stream")],
        chunks=Ready(_broken_stream(UpstreamFailedError("x"))),
    )
    (row,) = await run(answer, wire)
    assert wire.answer.endswith(b'"code":"upstream_failed"}}\n\n')
    assert (row.status, row.outcome, row.output_tokens) == (200, Outcome.UPSTREAM_ERROR, 2)


async def test_a_fault_amid_a_stream_breaks_it_off() -> None:
    answer = Answer(
        200, [("content-type", "text/event-stream")], chunks=Ready(_broken_stream(KeyError("x")))
    )
    one = gate()
    wire = Wire()
    with pytest.raises(ConnectionAbortedError):
        await driver(one, Scripted(answer))(wire, wire)
    (row,) = one.journal.rows()
    assert (row.outcome, row.output_tokens) == (Outcome.UPSTREAM_ERROR, 2)


async def test_a_stopped_server_settles() -> None:
    one = gate()

    async def never(exchange: Exchange, scope: Scope, connection: Connection) -> None:
        await asyncio.sleep(3600)

    wire = Wire()
    task = asyncio.create_task(driver(one, serve=never)(wire, wire))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (row,) = one.journal.rows()
    assert row.outcome == Outcome.CLIENT_GONE


async def test_a_client_that_cannot_be_reached() -> None:
    one = gate()

    async def gone(exchange: Exchange, scope: Scope, connection: Connection) -> None:
        raise ClientGoneError

    wire = Wire()
    await driver(one, serve=gone)(wire, wire)
    (row,) = one.journal.rows()
    assert (row.status, row.outcome, wire.status) == (0, Outcome.CLIENT_GONE, 0)


async def test_a_refusal_leaves_no_row() -> None:
    one = gate(rpm=0)
    wire = Wire()
    await driver(one, Scripted(Answer(200, JSON)), ietf=True)(wire, wire)
    headers = dict(wire.answer_headers)
    assert (wire.status, wire.code) == (429, "rate_limit_exceeded")
    assert headers["x-should-retry"] == "false"
    assert headers["ratelimit-policy"] == '"requests";q=0;w=60'
    assert one.journal.rows() == []


async def test_a_frozen_word_is_waited_for() -> None:
    one = gate(cap=10**9)
    arena = one.arena
    arena.put(key_policy(version=2, cap=10**9, duration=Duration.DAILY))  # until its recount
    (index,) = arena.frozen()
    wire = Wire()
    body = b'{"usage":{"prompt_tokens":1,"completion_tokens":1}}'
    first_day, _ = arena.window(index, time.time_ns() // 1_000_000)
    loop = asyncio.get_running_loop()
    loop.call_later(0.005, lambda: arena.recount(index, first_day, 0, [one.journal]))
    await driver(one, Scripted(Answer(200, JSON, body)))(wire, wire)
    assert wire.status == 200
    assert dict(wire.answer_headers)["x-nemo-request-cost"] == "0.000002000"


class Cut(Wire):
    """A request whose body breaks off, as Granian shows it."""

    def __init__(self, *, announced: bool) -> None:
        super().__init__()
        if not announced:
            del self.headers["content-length"]

    async def __call__(self) -> bytes:
        raise RuntimeError("RSGI transport is closed")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in (BODY, b"", b""):
            yield chunk


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_that_breaks_off_is_never_processed(announced: bool) -> None:
    one = gate()
    wire = Cut(announced=announced)
    await driver(one, Scripted(Answer(200, JSON)))(wire, wire)
    assert (wire.status, wire.code) == (400, "invalid_request")
    assert one.journal.rows() == []


async def test_a_body_is_as_long_as_it_says() -> None:
    one = gate()
    wire = Wire(content_length="2000")
    await driver(one, Scripted(Answer(200, JSON)))(wire, wire)
    assert (wire.status, wire.code) == (413, "request_too_large")
    wire = Wire(content_length="200")
    await driver(one, Scripted(Answer(200, JSON)))(wire, wire)
    assert (wire.status, wire.code) == (400, "invalid_request")
    assert one.journal.rows() == []


async def test_what_is_no_model_call_goes_elsewhere() -> None:
    for path, name in (("/v1/models", "models"), ("/healthz", "health"), ("/login", "elsewhere")):
        wire = Wire(path=path)
        wire.method = "GET"
        await driver(gate())(wire, wire)
        assert (wire.status, wire.answer) == (200, name.encode())


async def native_calls(handle: Any, wire: Wire) -> list[str]:
    """List the methods of worker and exchange that one request calls, in order."""
    called: list[str] = []

    def note(_: Any, event: str, function: Any) -> None:
        if event == "c_call" and type(function.__self__) in (Worker, Exchange):
            called.append(function.__name__)

    sys.setprofile(note)
    try:
        await handle(wire, wire)
    finally:
        sys.setprofile(None)
    return called


async def test_how_many_native_calls_a_request_costs() -> None:
    one = gate()
    assert await native_calls(driver(one), Wire(key=None)) == ["open"]
    refused = driver(gate(rpm=0))
    assert await native_calls(refused, Wire()) == ["open", "admit"]
    assert await native_calls(driver(one, echo=0), Wire()) == ["open", "admit"]
    answer = Answer(200, JSON, b'{"usage":{"prompt_tokens":1,"completion_tokens":1}}')
    forwarded = driver(one, Scripted(answer))
    assert await native_calls(forwarded, Wire()) == ["open", "admit", "whole"]
