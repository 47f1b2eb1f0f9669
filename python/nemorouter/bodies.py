"""Read the bodies of requests under one rule, for the gateway and the control plane.

A body has a deadline and a least rate. All bodies of a worker that are not whole yet are bounded in
number and memory: where there are too many, the oldest one makes room, for a client that means it
sends its body with its head. A body that broke off is never taken for a whole one.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol, Self

from nemorouter.errors import BodyTimeoutError, BrokenBodyError
from nemorouter.settings import Settings

CALLS: Final = 4_096
"""Bodies of model calls that a worker waits for at once; their callers have shown a key."""
FORMS: Final = 1_024
"""Bodies that a worker waits for at once for the control plane, where anybody may send one."""
FORM_BYTES: Final = 32 << 20
"""Memory of those."""
_TICK_S: Final = 0.5
_GRACE_S: Final = 1.0
"""How long an unfinished body still has when the worker is to end."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class Incoming(Protocol):
    """The body of a request: whole, or piece by piece. RSGI's protocol, or ASGI's in its dress."""

    def __call__(self) -> Awaitable[bytes]: ...
    def __aiter__(self) -> AsyncIterator[bytes]: ...


class _Reading:
    """One body that is not whole yet."""

    __slots__ = ("begun", "cut", "held")

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.held = 0
        self.cut = False


class Bodies:
    """Bound the bodies that one event loop waits for.

    ``timeout_s`` is what a body has, and one second more for each ``min_rate`` bytes that came.
    ``most`` bodies are waited for at once, and ``most_bytes`` bytes of them are held.
    """

    def __init__(self, *, timeout_s: float, min_rate: int, most: int, most_bytes: int) -> None:
        self._timeout_s = timeout_s
        self._min_rate = min_rate
        self._most = most
        self._most_bytes = most_bytes
        self._held = 0
        self._open: dict[asyncio.Task[Any], _Reading] = {}  # oldest first
        self._ticking = False

    @classmethod
    def of_calls(cls, settings: Settings) -> Self:
        """Make the bounds for model calls."""
        return cls(
            timeout_s=settings.body_timeout,
            min_rate=settings.body_min_rate,
            most=CALLS,
            most_bytes=settings.body_memory,
        )

    @classmethod
    def of_forms(cls, settings: Settings) -> Self:
        """Make the bounds for the control plane."""
        return cls(
            timeout_s=settings.body_timeout,
            min_rate=settings.body_min_rate,
            most=FORMS,
            most_bytes=FORM_BYTES,
        )

    def __len__(self) -> int:
        return len(self._open)

    @property
    def held(self) -> int:
        """Bytes that came of bodies that are not whole yet."""
        return self._held

    async def whole(self, incoming: Incoming) -> bytes:
        """Read a small body in one piece. BodyTimeoutError: it was not there in time."""
        task, reading = self._begin()
        try:
            return await incoming()
        except asyncio.CancelledError:
            self._raise_if_cut(task, reading)
            raise
        finally:
            self._end(task, reading)

    async def counted(self, incoming: Incoming, most: int, scope: Any = None) -> bytes:  # noqa: ANN401 - RSGI's scope
        """Read a body piece by piece, or a little more than ``most`` bytes of it.

        ``scope`` is RSGI's, whose protocol does not report by itself that a body broke off.
        BodyTimeoutError: it came too slowly, or had to make room. BrokenBodyError: it broke off.
        """
        task, reading = self._begin()
        chunks = []
        empty = 0
        try:
            async for chunk in incoming:
                empty = 0 if chunk else empty + 1
                chunks.append(bytes(chunk))
                self._grow(reading, len(chunk))
                if reading.held > most:
                    break
        except asyncio.CancelledError:
            self._raise_if_cut(task, reading)
            raise
        finally:
            self._end(task, reading)
        if scope is not None and reading.held <= most and not _is_whole(scope, reading.held, empty):
            raise BrokenBodyError
        return b"".join(chunks)

    def receiving(self, receive: Receive) -> Receive:
        """Wrap ASGI's ``receive`` for an app that reads the body itself.

        The wrapped ``receive`` raises BodyTimeoutError.
        """
        begun = asyncio.get_running_loop().time()
        held = 0
        more = True

        async def bounded() -> Message:
            nonlocal held, more
            if not more:
                return await receive()
            task, reading = self._begin(begun)
            self._grow(reading, held)
            try:
                message = await receive()
            except asyncio.CancelledError:
                self._raise_if_cut(task, reading)
                raise
            finally:
                self._end(task, reading)
            held += len(message.get("body", b""))
            more = message.get("more_body", False)
            return message

        return bounded

    def close(self) -> None:
        """Give what is unfinished, or begins now, a last second: the worker ends."""
        self._timeout_s = min(self._timeout_s, _GRACE_S)
        self._min_rate = 1 << 62
        now = asyncio.get_running_loop().time()
        for reading in self._open.values():
            reading.begun = max(reading.begun, now)

    def _begin(self, begun: float | None = None) -> tuple[asyncio.Task[Any], _Reading]:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that is awaited runs in a task
        if len(self._open) >= self._most:
            self._cut_oldest()
        reading = _Reading(loop.time() if begun is None else begun)
        self._open[task] = reading
        if not self._ticking:
            self._ticking = True
            loop.call_later(_TICK_S, self._tick, loop)
        return task, reading

    def _end(self, task: asyncio.Task[Any], reading: _Reading) -> None:
        if not reading.cut:
            del self._open[task]
            self._held -= reading.held

    def _grow(self, reading: _Reading, size: int) -> None:
        reading.held += size
        if not reading.cut:
            self._held += size
            while self._held > self._most_bytes:
                self._cut_oldest()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cut what is late; come again while there is something to look at."""
        now = loop.time()
        late = [
            task
            for task, reading in self._open.items()
            if now > reading.begun + self._timeout_s + reading.held / self._min_rate
        ]
        for task in late:
            self._cut(task)
        self._ticking = bool(self._open)
        if self._ticking:
            loop.call_later(_TICK_S, self._tick, loop)

    def _cut_oldest(self) -> None:
        self._cut(next(iter(self._open)))

    def _cut(self, task: asyncio.Task[Any]) -> None:
        reading = self._open.pop(task)
        self._held -= reading.held
        reading.cut = True
        if task is asyncio.current_task():
            raise BodyTimeoutError
        task.cancel()

    @staticmethod
    def _raise_if_cut(task: asyncio.Task[Any], reading: _Reading) -> None:
        """BodyTimeoutError: the task was cancelled because of its body, and for nothing else."""
        if reading.cut and task.uncancel() == 0:
            raise BodyTimeoutError from None


def _is_whole(scope: Any, size: int, empty: int) -> bool:  # noqa: ANN401 - RSGI's scope
    """Return true if a body of ``size`` bytes, and ``empty`` empty pieces at its end, is whole.

    Granian ends a body that broke off as it ends a whole one, but for one more empty piece. Under
    HTTP/2 an empty frame may be the last.
    """
    announced = scope.headers.get("content-length")
    if announced is not None:
        return announced.isdecimal() and int(announced) <= size
    return empty < 2 or scope.http_version.startswith("2")
