"""Clients that leave are noticed while they wait, and only then."""

import asyncio
from typing import Any

import pytest

from nemorouter.gateway.disconnects import DisconnectWatcher
from nemorouter.gateway.wire import ClientGoneError


class Line:
    """A connection whose client leaves when the test says so."""

    def __init__(self) -> None:
        self.asked = 0
        self.left = asyncio.Event()

    async def client_disconnect(self) -> None:
        self.asked += 1
        await self.left.wait()


async def over(watcher: DisconnectWatcher, line: Any, work: asyncio.Event) -> None:
    """Wait for ``work`` as the request path waits for an upstream."""
    task = asyncio.current_task()
    assert task is not None
    watcher.watch(task, line)
    try:
        await work.wait()
    except asyncio.CancelledError:
        if watcher.left(task):
            raise ClientGoneError from None
        raise
    finally:
        watcher.release(task)


async def waiting(
    watcher: DisconnectWatcher, line: Any, work: asyncio.Event
) -> "asyncio.Task[None]":
    task = asyncio.ensure_future(over(watcher, line, work))
    await asyncio.sleep(0)
    return task


async def test_a_fast_answer_pays_for_no_look() -> None:
    watcher = DisconnectWatcher()
    line = Line()
    work = asyncio.Event()
    task = await waiting(watcher, line, work)
    watcher._tick()
    work.set()
    await task
    watcher._tick()
    assert line.asked == 0


async def test_a_client_that_leaves_ends_the_work() -> None:
    watcher = DisconnectWatcher()
    line = Line()
    work = asyncio.Event()
    task = await waiting(watcher, line, work)
    watcher._tick()
    watcher._tick()
    line.left.set()
    with pytest.raises(ClientGoneError):
        await asyncio.wait_for(task, 5)
    assert not task.cancelling()


async def test_who_leaves_when_the_work_is_done_disturbs_nothing() -> None:
    watcher = DisconnectWatcher()
    line = Line()
    work = asyncio.Event()
    done = []

    async def go_on() -> None:
        await over(watcher, line, work)
        for _ in range(5):
            await asyncio.sleep(0)
        done.append(True)

    task = asyncio.ensure_future(go_on())
    await asyncio.sleep(0)
    watcher._tick()
    watcher._tick()
    await asyncio.sleep(0)
    line.left.set()
    work.set()
    await asyncio.gather(task, return_exceptions=True)
    assert done or isinstance(task.exception(), ClientGoneError)


async def test_a_look_that_fails_leaves_the_others_looked_after() -> None:
    class Broken(Line):
        def client_disconnect(self) -> Any:
            raise RuntimeError

    watcher = DisconnectWatcher()
    line = Line()
    work = asyncio.Event()
    first = await waiting(watcher, Broken(), work)
    watcher._tick()
    second = await waiting(watcher, line, work)
    with pytest.raises(RuntimeError):
        watcher._tick()
    assert watcher._ticks
    watcher._tick()
    await asyncio.sleep(0)
    assert line.asked == 1
    work.set()
    await asyncio.gather(first, second)


async def test_who_is_cancelled_for_another_reason_stays_cancelled() -> None:
    watcher = DisconnectWatcher()
    line = Line()
    work = asyncio.Event()
    task = await waiting(watcher, line, work)
    watcher._tick()
    watcher._tick()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert line.asked == 1
    assert not any((watcher._new, watcher._waited, watcher._looks, watcher._gone))


async def test_nothing_is_kept_of_those_who_are_done() -> None:
    watcher = DisconnectWatcher()
    line = Line()
    work = asyncio.Event()
    tasks = []
    for _ in range(3):  # one that is new, one that has waited, one that was looked for
        tasks.append(await waiting(watcher, line, work))
        watcher._tick()
    work.set()
    await asyncio.gather(*tasks)
    assert not any((watcher._new, watcher._waited, watcher._looks, watcher._gone))
