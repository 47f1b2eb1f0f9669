"""A small TCP proxy that cuts connections where a test wants it: what lies between a host and its
servers.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Self

Cut = Callable[[bytes], bool]


class Proxy:
    """Listens on a free port of 127.0.0.1 and speaks to ``target`` for whoever comes.

    ``cut_reply``: looks at what a client sends; True = it is passed on, and once the server has
    answered, the answer is dropped and both ends are cut: the server did it, and nobody was told.
    ``cut_after``: bytes of answers after which the line breaks. Each cuts once.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.Task[None]] = set()
        self.cut_reply: Cut | None = None
        self.cut_after: int | None = None
        self.cuts = 0

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for line in self._lines:
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

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
    def __init__(
        self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._reader = reader
        self._writer = writer
        self._doomed = False

    async def run(self, target: int) -> None:
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
        while sent := await self._reader.read(65_536):
            proxy = self._proxy
            if proxy.cut_reply is not None and proxy.cut_reply(sent):
                proxy.cut_reply, self._doomed = None, True
            writer.write(sent)
            await writer.drain()

    async def _back(self, reader: asyncio.StreamReader) -> None:
        proxy = self._proxy
        while answer := await reader.read(65_536):
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
