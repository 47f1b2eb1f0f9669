"""The queue of password hashes: bounded, and emptied in order by one thread."""

import asyncio
import threading

import pytest

from nemorouter.errors import BusyError
from nemorouter.services.access import password


async def test_so_many_wait_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    at_work = 0
    most = 0

    def slow(_: str, __: str) -> bool:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        gate.wait(20)
        at_work -= 1
        return True

    monkeypatch.setattr(password, "_matches", slow)
    waiting = [
        asyncio.create_task(password.verify_password("x", "stored")) for _ in range(password._QUEUE)
    ]
    await asyncio.sleep(0)
    with pytest.raises(BusyError):
        await password.verify_password("x", "stored")
    waiting.pop().cancel()  # somebody went away: there is room again
    await asyncio.sleep(0)
    waiting.append(asyncio.create_task(password.verify_password("x", None)))
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*waiting) == [True] * (password._QUEUE - 1) + [False]
    assert most == 1
