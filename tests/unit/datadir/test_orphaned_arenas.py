"""Test that arenas without a data directory are found, and removed only if nobody uses them."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nemorouter.arena import attach
from nemorouter.datadir import orphaned_arenas
from nemorouter.datadir.paths import DataDir
from tests.support.world import World


@pytest.fixture
async def arena(tmp_path: Path) -> AsyncIterator[Path]:
    """Make the file of an arena whose one server is this process."""
    world = await World.make(tmp_path / "data")
    await attach.attach(world.settings, world.store)
    note = DataDir(world.settings.data_dir).note()
    assert note is not None
    path = Path(note.path)
    if path.parent == world.settings.data_dir:
        pytest.skip("there is no room for it in shared memory")
    yield path
    await world.close()
    orphaned_arenas.remove(path)


def end() -> None:
    """Release what the end of this process would release."""
    for shares in attach._serving.values():
        for share in shares:
            share.release()


def lost() -> list[Path]:
    return [orphan.path for orphan in orphaned_arenas.find()]


async def test_the_arena_of_a_directory_that_is_gone_is_removed(arena: Path) -> None:
    home = orphaned_arenas.home_of(arena)
    assert home is not None
    orphaned_arenas.sweep()
    assert arena.exists()
    shutil.rmtree(home)
    assert arena not in lost(), "a process uses it still"
    end()
    assert arena in lost()
    orphaned_arenas.sweep()
    assert not arena.exists()
    assert orphaned_arenas.home_of(arena) is None


async def test_one_of_an_unknown_directory_is_named_and_left(arena: Path) -> None:
    arena.with_suffix(".home").unlink()
    end()
    assert arena in lost()
    orphaned_arenas.sweep()
    assert arena.exists()


async def test_a_stopped_server_keeps_its_arena(arena: Path) -> None:
    end()
    assert arena not in lost()
    orphaned_arenas.sweep()
    assert arena.exists()
