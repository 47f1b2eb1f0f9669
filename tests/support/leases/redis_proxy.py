"""Proxy calls to Redis with faults: replies get lost or come late, and calls are repeated.

It runs in a thread of its own. Requests and replies are passed whole, as the client wrote them.
"""

import asyncio
import threading
from contextlib import suppress
from random import Random
from types import TracebackType


class RedisProxy:
    """A proxy on ``port`` in front of a Redis; its faults can be changed while it runs."""

    def __init__(self, to: int, seed: int = 1) -> None:
        self._to = to
        self._random = Random(seed)
        self.delay_s = 0.0  # each way
        self.lose = 0.0  # chance that a reply is lost, and its connection with it
        self.repeat = (
            0.0  # chance that a call is made twice; the first reply is the one that counts
        )
        self.lost = 0
        self.repeated = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "RedisProxy":
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def turn(self, to: int) -> None:
        """From now on lead to another port; who is connected is cut off."""

        def cut() -> None:
            self._to = to
            for task in self._tasks:
                task.cancel()

        self._loop.call_soon_threadsafe(cut)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        ends = [writer]
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
            ends.append(far_writer)
            await self._talk(reader, writer, far_reader, far_writer)
        for end in ends:
            end.close()
            with suppress(OSError, asyncio.CancelledError):
                await end.wait_closed()
        self._tasks.discard(task)

    async def _talk(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        """One call after the other, as an asyncio client of redis-py makes them on a connection."""
        while call := await _value(reader):
            await asyncio.sleep(self.delay_s)
            twice = call.find(b"EVALSHA") >= 0 and self._random.random() < self.repeat
            far_writer.write(call * (2 if twice else 1))
            reply = await _value(far_reader)
            if twice:
                self.repeated += 1
                await _value(far_reader)
            await asyncio.sleep(self.delay_s)
            if self._random.random() < self.lose:
                self.lost += 1
                return
            writer.write(reply)
            await writer.drain()


async def _value(reader: asyncio.StreamReader) -> bytes:
    """One RESP value with all its parts; empty at the end."""
    line = await reader.readline()
    kind = line[:1]
    length = line[1:-2]
    if kind in (b"*", b"%", b"~", b">"):
        parts = [await _value(reader) for _ in range(int(length) * (2 if kind == b"%" else 1))]
        return line + b"".join(parts)
    if kind in (b"$", b"=") and int(length) >= 0:
        return line + await reader.readexactly(int(length) + 2)
    return line
