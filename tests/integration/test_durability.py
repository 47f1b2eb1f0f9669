"""``durability = "commit"``: whoever has seen the end of an answer finds its row in the store."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.servers import free_port
from tests.support.serving import Client, Server, chat
from tests.support.world import KEY, World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await World.make(
        tmp_path / "data", port=free_port(), log_level="warning", durability="commit"
    )
    await made.key()
    yield made
    await made.close()


def rows(world: World) -> int:
    with closing(sqlite3.connect(world.settings.data_dir / "nemorouter.db")) as store:
        return int(store.execute("SELECT count(*) FROM requests").fetchone()[0])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_row_is_there_when_the_answer_ends(world: World, stream: bool) -> None:
    async with Server(world.settings), Client(world.settings.port) as client:
        for count in range(1, 30):
            answer = await client.ask(world.keys[KEY], chat(stream=stream))
            assert answer is not None
            assert answer.status == 200
            assert rows(world) == count
