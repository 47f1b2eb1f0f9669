"""The queue of password hashes: bounded, and emptied in order by one thread."""

import asyncio
import threading

import pytest

from nemorouter.errors import BusyError, RefusedError
from nemorouter.services.access import password
from nemorouter.services.access.password import checked


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


@pytest.mark.parametrize(
    "text",
    [
        "password",
        "PassWord",
        "Password123!",
        "12345678",
        "qwertyuiop",
        "iloveyou2026",
        "!dragon!!",
        "aaaaaaaaaa",
        "abcabcabcabc",
        " password ",
    ],
)
def test_a_common_password_is_refused(text: str) -> None:
    """Row P25 of the attacks: an owner's password was "password"."""
    with pytest.raises(RefusedError, match="first that somebody would try"):
        checked(text)


@pytest.mark.parametrize(
    "text", ["correct horse battery", "a long password", "Tr0ub4dor&3x", "żółta łódź"]
)
def test_another_password_is_taken(text: str) -> None:
    assert checked(text) == text
