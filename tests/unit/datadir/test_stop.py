"""A sleep that ends when the end is wished for, from whatever thread."""

import asyncio
import threading
import time

from nemorouter.datadir.stop import Stop


async def test_a_sleep_takes_its_time() -> None:
    begun = time.monotonic()
    await Stop().sleep(0.02)
    assert 0.02 <= time.monotonic() - begun < 5


async def test_a_sleeper_is_woken_from_another_thread() -> None:
    stop = Stop()
    threading.Timer(0.02, stop.set).start()
    await asyncio.wait_for(stop.sleep(60), 10)
    assert stop.is_set()


async def test_nobody_sleeps_after_the_end() -> None:
    stop = Stop()
    stop.set()
    await asyncio.wait_for(stop.sleep(60), 10)


def test_a_loop_that_is_gone_is_no_matter() -> None:
    stop = Stop()

    async def leave() -> None:
        asyncio.get_running_loop().call_soon(asyncio.get_running_loop().stop)
        await stop.sleep(60)

    loop = asyncio.new_event_loop()
    task = loop.create_task(leave())
    loop.run_forever()
    task.cancel()
    sleeper = stop._sleeper
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    stop._sleeper = sleeper  # as another thread may have read it just before
    stop.set()
    assert stop.is_set()
