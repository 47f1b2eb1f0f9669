"""Of a crowd one goes on after the other; who comes alone does not wait."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from nemorouter.control.process.throttle import Throttle


class Timers:
    """Calls that the loop was asked to make later; ``pass_on`` makes the earliest."""

    def __init__(self) -> None:
        self._due: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def call_later(self, _: float, what: Callable[..., Any], *given: Any) -> object:
        self._due.append((what, given))
        return object()

    def pass_on(self) -> None:
        what, given = self._due.pop(0)
        what(*given)

    def __len__(self) -> int:
        return len(self._due)


@pytest.fixture
async def timers(monkeypatch: pytest.MonkeyPatch) -> Timers:
    made = Timers()
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", made.call_later)
    return made


def come(pace: Throttle, names: str) -> tuple[list[str], list[asyncio.Task[None]]]:
    gone: list[str] = []

    async def one(name: str) -> None:
        await pace()
        gone.append(name)

    return gone, [asyncio.ensure_future(one(name)) for name in names]


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_who_comes_alone_does_not_wait(timers: Timers) -> None:
    pace = Throttle()
    await pace()
    timers.pass_on()
    await pace()
    assert len(timers) == 1


async def test_a_crowd_goes_on_one_by_one_as_it_came(timers: Timers) -> None:
    gone, tasks = come(Throttle(), "abcd")
    await settle()
    seen = ["".join(gone)]
    for _ in range(3):
        timers.pass_on()
        await settle()
        seen.append("".join(gone))
    assert seen == ["a", "ab", "abc", "abcd"]
    timers.pass_on()  # nobody waits: the next comer goes at once
    assert len(timers) == 0
    await asyncio.gather(*tasks)


async def test_who_was_cancelled_takes_no_turn(timers: Timers) -> None:
    gone, tasks = come(Throttle(), "abc")
    await settle()
    tasks[1].cancel()
    await settle()
    timers.pass_on()
    await settle()
    assert gone == ["a", "c"]
    assert tasks[1].cancelled()
