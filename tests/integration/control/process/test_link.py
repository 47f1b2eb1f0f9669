"""Test the way between a worker and the control process.

It carries whole answers, streams, long paths, and ends half-way.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nemorouter.control.process import link
from nemorouter.control.process.bridge import asgi_scope
from nemorouter.control.process.link import AsgiApp, BrokenLinkError, Message
from nemorouter.errors import BodyTimeoutError


class Scope:
    """The head of a request, as Granian passes it."""

    method = "POST"
    scheme = "http"
    http_version = "1.1"
    path = "/keys/é"
    query_string = "q=1"
    client = "127.0.0.1:1234"
    headers = {"accept": "text/html", "cookie": "a=b"}  # noqa: RUF012 - as plain as it can be


@asynccontextmanager
async def served(path: Path, app: AsgiApp) -> AsyncIterator[None]:
    with link.listen(path) as listener:
        listener.setblocking(False)
        async with await asyncio.start_unix_server(partial(link.answer, app), sock=listener):
            yield


async def ask(path: Path, body: bytes = b"") -> tuple[bool, list[Message]]:
    got: list[Message] = []

    async def send(message: Message) -> None:
        got.append(message)

    async def read() -> bytes:
        return body

    return await link.relay(path, asgi_scope(Scope()), read, send), got


async def test_a_request_and_its_answer_cross_as_they_are(tmp_path: Path) -> None:
    seen: list[Any] = []

    async def app(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: link.Send
    ) -> None:
        seen.extend([scope, await receive()])
        await send(
            {"type": "http.response.start", "status": 303, "headers": [(b"location", b"/x")]}
        )
        await send({"type": "http.response.body", "body": b"\x00gone"})

    async with served(tmp_path / "s", app):
        found, got = await ask(tmp_path / "s", b"x" * 100_000)
    assert found
    assert seen[0] == asgi_scope(Scope())
    assert seen[1]["body"] == b"x" * 100_000
    assert got[0] == {
        "type": "http.response.start",
        "status": 303,
        "headers": [(b"location", b"/x")],
    }
    assert got[1] == {"type": "http.response.body", "body": b"\x00gone", "more_body": False}


async def test_a_stream_comes_piece_by_piece(tmp_path: Path) -> None:
    async def app(_: Message, __: object, send: link.Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(50):
            await send(
                {"type": "http.response.body", "body": b"%d" % number * 10_000, "more_body": True}
            )
        await send({"type": "http.response.body"})

    async with served(tmp_path / "s", app):
        _, got = await ask(tmp_path / "s")
    assert b"".join(one.get("body", b"") for one in got) == b"".join(
        b"%d" % n * 10_000 for n in range(50)
    )
    assert [one["more_body"] for one in got[1:]] == [True] * 50 + [False]


async def test_nobody_there_is_told_apart_from_an_end_half_way(tmp_path: Path) -> None:
    assert (await ask(tmp_path / "none"))[0] is False
    link.listen(tmp_path / "dead").close()
    assert (await ask(tmp_path / "dead"))[0] is False  # left over by a process that was killed

    async def mute(_: Message, __: object, ___: link.Send) -> None:
        raise ConnectionResetError

    async def half(_: Message, __: object, send: link.Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ConnectionResetError

    for app, begun in ((mute, False), (half, True)):
        async with served(tmp_path / "s", app):
            with pytest.raises(BrokenLinkError) as caught:
                await ask(tmp_path / "s")
        assert caught.value.begun is begun


async def test_the_app_hears_that_the_asker_left(tmp_path: Path) -> None:
    heard = asyncio.Event()

    async def app(_: Message, receive: Callable[[], Awaitable[Message]], __: link.Send) -> None:
        await receive()
        if (await receive())["type"] == "http.disconnect":
            heard.set()

    async with served(tmp_path / "s", app):
        task = asyncio.create_task(ask(tmp_path / "s"))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait_for(heard.wait(), 5)


async def test_a_frame_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async def app(_: Message, __: object, ___: link.Send) -> None:
        raise AssertionError("no request came")

    async with served(tmp_path / "s", app):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        writer.write(b"\xff\xff\xff\xff" + b"x" * 100)
        assert await reader.read() == b""
        writer.close()


async def test_a_deep_folder_and_only_for_this_user(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120) / "control.sock"
    deep.parent.mkdir()

    async def app(_: Message, __: object, send: link.Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    with pytest.raises(OSError, match="too long"), socket.socket(socket.AF_UNIX) as plain:
        plain.bind(str(deep))
    async with served(deep, app):
        assert deep.stat().st_mode & 0o777 == 0o600
        found, got = await ask(deep)
    assert found
    assert got[0]["status"] == 204


async def test_a_body_that_nobody_wants_is_not_read(tmp_path: Path) -> None:
    """Row P10 of the attacks: bodies were read before it was known who sends them."""

    async def app(_: Message, __: object, send: link.Send) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body"})

    async def read() -> bytes:
        raise AssertionError("it was read")

    got: list[Message] = []

    async def send(message: Message) -> None:
        got.append(message)

    async with served(tmp_path / "s", app):
        assert await link.relay(tmp_path / "s", asgi_scope(Scope()), read, send)
    assert got[0]["status"] == 401


async def test_a_body_that_cannot_be_read_ends_the_request(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def app(_: Message, receive: Callable[[], Awaitable[Message]], __: link.Send) -> None:
        try:
            await receive()
        finally:
            ended.set()

    async def read() -> bytes:
        raise BodyTimeoutError

    async def send(_: Message) -> None:
        raise AssertionError("there is no answer")

    async with served(tmp_path / "s", app):
        with pytest.raises(BodyTimeoutError):
            await link.relay(tmp_path / "s", asgi_scope(Scope()), read, send)
        await asyncio.wait_for(ended.wait(), 5)
