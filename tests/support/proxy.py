"""A TCP proxy whose line a test cuts: what lies between a host and its servers."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Self

Cut = Callable[[bytes], bool]


class Proxy:
    """Listen on a free port of 127.0.0.1 and relay each connection to the port ``target``.

    ``cut_reply`` is called with what a client sends. When it answers True, the bytes are passed on,
    and once the server has answered, the answer is dropped and both ends are closed: the server
    did the work, and the client does not know. ``cut_after`` is the number of bytes of answers
    after which the connection is closed. Each of the two cuts once. ``hold`` stops all bytes in
    both directions without closing anything, until ``release``.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self.cut_reply: Cut | None = None
        self.cut_after: int | None = None
        self.cuts = 0

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def hold(self) -> None:
        """Pass no byte from now on."""
        self._open.clear()

    def release(self) -> None:
        """Pass what was held, and all that follows."""
        self._open.set()

    async def passing(self) -> None:
        """Wait while the line is held."""
        await self._open.wait()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        lines = tuple(self._lines)
        for line in lines:
            line.cancel()
        await asyncio.gather(*lines, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._lines.add(task)
        try:
            with suppress(OSError):
                await _Line(self, reader, writer).run(self._target)
        finally:
            self._lines.discard(task)
            writer.close()


class _Line:
    """One connection of a client, and the one to the server that belongs to it."""

    def __init__(
        self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._reader = reader
        self._writer = writer
        self._doomed = False

    async def run(self, target: int) -> None:
        await self._proxy.passing()
        reader, writer = await asyncio.open_connection("127.0.0.1", target)
        ways = [asyncio.create_task(self._there(writer)), asyncio.create_task(self._back(reader))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.close()

    async def _there(self, writer: asyncio.StreamWriter) -> None:
        proxy = self._proxy
        while sent := await self._reader.read(65_536):
            await proxy.passing()
            if proxy.cut_reply is not None and proxy.cut_reply(sent):
                proxy.cut_reply = None
                self._doomed = True
            writer.write(sent)
            await writer.drain()

    async def _back(self, reader: asyncio.StreamReader) -> None:
        proxy = self._proxy
        while answer := await reader.read(65_536):
            await proxy.passing()
            if self._doomed:
                proxy.cuts += 1
                return
            if proxy.cut_after is not None:
                if len(answer) >= proxy.cut_after:
                    self._writer.write(answer[: proxy.cut_after])
                    proxy.cut_after = None
                    proxy.cuts += 1
                    return
                proxy.cut_after -= len(answer)
            self._writer.write(answer)
            await self._writer.drain()
