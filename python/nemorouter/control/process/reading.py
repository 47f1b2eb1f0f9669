"""Run requests that only read on an event loop of their own, apart from changes.

A revocation then never waits for pages that are drawn, however many somebody asks for.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from nemorouter.control.process.link import AsgiApp, Message, Send
from nemorouter.services.transaction.context import Context
from nemorouter.settings import Settings
from nemorouter.store.engine import Store

READS: Final = frozenset({"GET", "HEAD"})
_END_S: Final = 5.0

T = TypeVar("T")
Make = Callable[[Context, Settings], AsgiApp]
"""Makes the app on a context of the reading loop's own."""


class ReadingLoop:
    """An ASGI app: another one, with a store of its own, on the event loop of a thread."""

    def __init__(self, settings: Settings, make: Make) -> None:
        self._settings = settings
        self._make = make
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="nemorouter-reading", daemon=True
        )
        self._app: AsgiApp | None = None
        self._store: Store | None = None

    async def start(self) -> None:
        """Start the thread, and open the store in it. StoreError: the store cannot be used."""
        self._thread.start()
        await _on(self._loop, self._open())

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send
    ) -> None:
        """Answer one request; ``receive`` and ``send`` run on the caller's loop."""
        assert self._app is not None  # noqa: S101 - start comes first
        home = asyncio.get_running_loop()

        async def receiving() -> Message:
            return await _on(home, receive())

        async def sending(message: Message) -> None:
            await _on(home, send(message))

        await _on(self._loop, self._app(scope, receiving, sending))

    async def stop(self) -> None:
        """Close the store, and end the thread."""
        if self._thread.is_alive():
            await _on(self._loop, self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            await asyncio.to_thread(self._thread.join, _END_S)
            self._loop.close()

    async def _open(self) -> None:
        self._store = await Store.open(self._settings, migrate=False)
        context = await Context.attach(self._store, self._settings)
        self._app = self._make(context, self._settings)

    async def _close(self) -> None:
        if self._store is not None:
            await self._store.close()


async def _on(loop: asyncio.AbstractEventLoop, work: Awaitable[T]) -> T:
    """Await ``work`` on another loop."""

    async def run() -> T:
        return await work

    running: Coroutine[Any, Any, T] = run()
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(running, loop))
