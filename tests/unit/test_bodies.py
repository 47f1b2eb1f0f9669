"""Bodies that do not come: deadlines, rates, and bounds for all of them. Time is the loop's."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from nemorouter.bodies import Bodies
from nemorouter.errors import BodyTimeoutError, BrokenBodyError
from tests.support.wires import MemoryHeaders


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time goes on when nothing else is to be done."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


@pytest.fixture
def loop() -> Iterator[Clock]:
    made = Clock()
    yield made
    made.close()


class Slow:
    """A body of pieces, each so many seconds after the one before; then it hangs, or ends."""

    def __init__(self, *pieces: bytes, apart: float = 0.0, ends: bool = True) -> None:
        self._pieces = pieces
        self._apart = apart
        self._ends = ends

    async def __call__(self) -> bytes:
        return b"".join([piece async for piece in self])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            await asyncio.sleep(self._apart)
            yield piece
        if not self._ends:
            await asyncio.get_running_loop().create_future()


def bounds(
    timeout_s: float = 20.0, min_rate: int = 1_000, most: int = 4, most_bytes: int = 10_000
) -> Bodies:
    return Bodies(timeout_s=timeout_s, min_rate=min_rate, most=most, most_bytes=most_bytes)


async def until_cut(bodies: Bodies, body: Slow, *, whole: bool = False) -> float:
    """Return the time after which a body is given up."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with pytest.raises(BodyTimeoutError):
        await (bodies.whole(body) if whole else bodies.counted(body, 1 << 20))
    return loop.time() - begun


@pytest.mark.parametrize("whole", [False, True])
def test_a_body_that_never_comes_is_given_up(loop: Clock, whole: bool) -> None:
    """Row P10 of the attacks: 10,000 half-sent forms held a worker for ever."""
    bodies = bounds()
    took = loop.run_until_complete(until_cut(bodies, Slow(ends=False), whole=whole))
    assert 20.0 < took <= 21.0
    assert (len(bodies), bodies.held) == (0, 0)


def test_a_body_that_trickles_is_given_up(loop: Clock) -> None:
    """A byte a second does not keep a request alive."""
    took = loop.run_until_complete(until_cut(bounds(), Slow(*[b"x"] * 1_000, apart=1.0)))
    assert 20.0 < took <= 21.0


def test_a_body_with_the_least_rate_may_take_long(loop: Clock) -> None:
    pieces = [b"x" * 1_000] * 100
    got = loop.run_until_complete(
        bounds(most_bytes=1 << 20).counted(Slow(*pieces, apart=1.0), 1 << 20)
    )
    assert (len(got), loop.time() >= 100) == (100_000, True)


def test_the_oldest_makes_room(loop: Clock) -> None:
    """A body that comes with its head is read, however many others do not come."""

    async def work() -> None:
        bodies = bounds(most=4)
        hanging = [asyncio.create_task(bodies.counted(Slow(ends=False), 10)) for _ in range(100)]
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        assert len(bodies) == 4
        assert [task.done() for task in hanging] == [True] * 96 + [False] * 4
        assert await bodies.counted(Slow(b"whole"), 10) == b"whole"
        assert {type(task.exception()) for task in hanging if task.done()} == {BodyTimeoutError}
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)

    loop.run_until_complete(work())


def test_the_memory_of_all_is_bounded(loop: Clock) -> None:
    """Row P10 of the attacks: 500 half-sent bodies of a megabyte took 1.3 GB."""

    async def work() -> None:
        bodies = bounds(most=1_000, most_bytes=10_000)
        hanging = []
        for _ in range(50):
            body = Slow(b"x" * 1_000, ends=False)
            hanging.append(asyncio.create_task(bodies.counted(body, 1 << 20)))
            await asyncio.sleep(0.001)
            assert bodies.held <= 10_000
        assert bodies.held == 10_000
        assert sum(task.done() for task in hanging) == 40
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        assert (bodies.held, len(bodies)) == (0, 0)

    loop.run_until_complete(work())


def test_one_that_is_larger_than_all_may_be_is_given_up(loop: Clock) -> None:
    async def work() -> bool:
        with pytest.raises(BodyTimeoutError):
            await bounds(most_bytes=10).counted(Slow(b"x" * 11), 1 << 20)
        await asyncio.sleep(0)  # nothing is left that would end the task
        return True

    assert loop.run_until_complete(work())


def test_a_stop_waits_no_longer_than_a_second(loop: Clock) -> None:
    """Row P10 of the attacks: SIGTERM took 31 s."""

    async def work() -> None:
        bodies = bounds(timeout_s=3_600)
        old = asyncio.create_task(bodies.counted(Slow(ends=False), 10))
        await asyncio.sleep(5)
        begun = loop.time()
        bodies.close()
        new = asyncio.create_task(bodies.counted(Slow(ends=False), 10))
        await asyncio.wait([old, new])
        assert loop.time() - begun <= 2
        assert {type(task.exception()) for task in (old, new)} == {BodyTimeoutError}

    loop.run_until_complete(work())


def test_a_cancellation_from_elsewhere_stays_one(loop: Clock) -> None:
    async def work() -> None:
        bodies = bounds()
        task = asyncio.create_task(bodies.counted(Slow(ends=False), 10))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(bodies) == 0

    loop.run_until_complete(work())


@pytest.mark.parametrize(
    ("pieces", "length", "whole"),
    [
        ([b"abc"], "3", True),
        ([b"abc"], "4", False),
        ([b"abc", b""], None, True),
        ([b"abc", b"", b""], None, False),
    ],
)
def test_what_broke_off_is_not_whole(
    loop: Clock, pieces: list[bytes], length: str | None, whole: bool
) -> None:
    """Row P14 of the attacks."""

    class Scope:
        headers = MemoryHeaders({} if length is None else {"content-length": length})
        http_version = "1.1"

    reading = bounds().counted(Slow(*pieces), 10, Scope())
    if whole:
        assert loop.run_until_complete(reading) == b"abc"
    else:
        with pytest.raises(BrokenBodyError):
            loop.run_until_complete(reading)


def test_an_app_that_reads_by_itself_is_bounded_too(loop: Clock) -> None:
    async def work() -> float:
        sent = iter([{"type": "http.request", "body": b"x", "more_body": True}] * 2_000)

        async def receive() -> Any:
            await asyncio.sleep(1)
            return next(sent)

        bounded = bounds().receiving(receive)

        async def read() -> None:
            while True:
                await bounded()

        with pytest.raises(BodyTimeoutError):
            await read()
        return loop.time()

    assert 20.0 < loop.run_until_complete(work()) <= 21.5
