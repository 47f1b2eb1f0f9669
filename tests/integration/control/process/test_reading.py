"""Requests that only read, on a loop of their own: changes never wait for them."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from nemorouter.control.process.link import AsgiApp, Message, Send
from nemorouter.control.process.reading import ReadingLoop
from nemorouter.control.process.supervisor import by_method
from nemorouter.services.transaction.context import Context
from nemorouter.settings import Settings
from tests.support.installation import context, settings, template  # noqa: F401 - fixtures

Receive = Callable[[], Awaitable[Message]]


@pytest.fixture
def store_kind() -> str:
    return "sqlite"


async def call(app: AsgiApp, method: str) -> list[Message]:
    """Send a request to an app; return its messages."""
    got: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": method.encode(), "more_body": False}

    async def send(message: Message) -> None:
        got.append(message)

    await app({"type": "http", "method": method}, receive, send)
    return got


async def test_a_change_does_not_wait_for_a_page_that_is_drawn(context: Context) -> None:  # noqa: F811
    """Row P11 of the attacks: a slow page kept a revocation waiting."""
    drawn = threading.Event()

    def make(own: Context, _: Settings) -> AsgiApp:
        assert own.store is not context.store

        async def page(scope: Message, receive: Receive, send: Send) -> None:
            drawn.wait(20)
            await send(await receive())

        return page

    async def change(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "changed"})

    reading = ReadingLoop(context.settings, make)
    await reading.start()
    try:
        app = by_method(reading, change)
        page = asyncio.create_task(call(app, "GET"))
        await asyncio.sleep(0.05)
        assert await asyncio.wait_for(call(app, "POST"), 10) == [{"type": "changed"}]
        assert not page.done()
        drawn.set()
        assert (await page)[0]["body"] == b"GET"
    finally:
        drawn.set()
        await reading.stop()


async def test_an_error_of_the_app_reaches_the_caller(context: Context) -> None:  # noqa: F811
    async def broken(scope: Message, receive: Receive, send: Send) -> None:
        raise LookupError(scope["method"])

    reading = ReadingLoop(context.settings, lambda _context, _settings: broken)
    await reading.start()
    try:
        with pytest.raises(LookupError, match="HEAD"):
            await call(reading, "HEAD")
    finally:
        await reading.stop()
