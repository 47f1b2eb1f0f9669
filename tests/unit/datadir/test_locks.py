"""File locks, within one process."""

import asyncio
from pathlib import Path

import pytest

from nemorouter.datadir.locks import Flock, locked
from nemorouter.errors import ConfigurationError


def test_exclusive_lock_excludes_and_shared_locks_share(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    first = Flock.attempt(path)
    assert first is not None
    assert Flock.attempt(path) is None
    assert Flock.attempt(path, shared=True) is None
    first.release()
    first.release()
    with (
        Flock.attempt(path, shared=True) or pytest.fail("free"),
        Flock.attempt(path, shared=True) or pytest.fail("shared"),
    ):
        assert Flock.attempt(path) is None
    assert Flock.attempt(path) is not None


async def _wait_and_take(path: Path) -> list[str]:
    told: list[str] = []

    async def other() -> None:
        async with locked(path):
            told.append("other")

    async with locked(path):
        task = asyncio.create_task(other())
        await asyncio.sleep(0.01)
        told.append("first")
    await task
    return told


def test_waiting_for_a_lock_lets_its_holder_go_on(tmp_path: Path) -> None:
    assert asyncio.run(_wait_and_take(tmp_path / "x.lock")) == ["first", "other"]


def test_a_lock_that_stays_taken_is_an_error(tmp_path: Path) -> None:
    async def wait() -> None:
        async with locked(tmp_path / "x.lock", deadline_s=0.01):
            pytest.fail("taken twice")

    with (
        Flock.attempt(tmp_path / "x.lock") or pytest.fail("free"),
        pytest.raises(ConfigurationError, match="holds"),
    ):
        asyncio.run(wait())
