"""Test a race for a budget while its window turns: real workers, and a calendar that is moved."""

import asyncio
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from nemorouter._core import Arena, Journal
from nemorouter.arena import attach
from nemorouter.datadir.files import replace_file
from nemorouter.datadir.locks import Flock
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.status import DrainerStatus, boot_id
from nemorouter.settings import UpstreamSettings
from nemorouter.store.journals import move
from nemorouter.store.sums import DAY_MS
from nemorouter.types import Duration, Kind
from tests.support.ledger_checks import digest, sums_agree
from tests.support.servers import free_port
from tests.support.serving import Answer, Client, Server, chat, clients
from tests.support.slow_upstream import slow_upstream
from tests.support.world import KEY, World

BODY = chat("slow-1", max_tokens=8)
RESERVED = -(-len(BODY) // 4) + 8
COST = 7
CAP = 3 * RESERVED + RESERVED // 2
FIRST_DAY = time.time_ns() // 1_000_000 // DAY_MS + 2


class Turning(Server):
    """The gateway under Granian, told by a file what time it is."""

    def at(self, wall_ms: int) -> None:
        draft = self.clock.with_suffix(".new")
        draft.write_text(str(wall_ms))
        draft.replace(self.clock)

    @property
    def clock(self) -> Path:
        return self.settings.data_dir.parent / "clock"

    def start(self) -> None:
        self.at(FIRST_DAY * DAY_MS - 1)
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        env = (
            os.environ
            | self.settings.to_env()
            | {"PYTHONPATH": paths, "TURNING_CLOCK": str(self.clock)}
        )
        command = [
            sys.executable,
            "-m",
            "granian",
            "--interface",
            "rsgi",
            "--workers",
            str(self.settings.workers),
        ]
        command += ["--port", str(self.settings.port), "tests.support.turning_worker:app"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def recover(self) -> None:
        """Drain in the test; a drainer of this process would go by another calendar."""


async def one_round(
    server: Turning, made: list[Client], key: str, arena: Arena, index: int, midnight: int
) -> int:
    """Fifty at once, and midnight comes while they are under way; answers how many were served."""
    worst = 0
    server.at(midnight - 1)
    await asyncio.sleep(0.05)  # all workers have seen it
    asked = asyncio.gather(*(client.ask(key, BODY) for client in made))
    turn = RESERVED * random.Random(midnight).randint(1, 3)  # when so much is reserved
    turned = False
    while not asked.done():
        for wall_ms in (midnight - 1, midnight):
            worst = max(worst, arena.meters(index, wall_ms=wall_ms).committed)
        if not turned and worst >= turn:
            turned = True
            server.at(midnight)
        await asyncio.sleep(0)
    answers: list[Answer] = [answer for answer in await asked if answer is not None]
    assert len(answers) == 50
    assert worst <= CAP
    assert {answer.code for answer in answers if answer.status != 200} <= {"budget_exceeded"}
    return sum(answer.status == 200 for answer in answers)


def _say_that_somebody_drains(data: DataDir) -> None:
    """Report a drainer, since the test is the one: a host without one is not ready."""
    status = DrainerStatus(
        boot=boot_id(),
        pid=os.getpid(),
        reported_us=time.monotonic_ns() // 1000,
        turn_s=0,
        heartbeat_ms=0,
        commit_ms=0,
        rows=0,
        applied=0,
    )
    replace_file(data.status_file, msgspec.json.encode(status))


@pytest.mark.parametrize(
    "rounds",
    [pytest.param(8, id="short"), pytest.param(100, id="long", marks=pytest.mark.campaign)],
)
async def test_fifty_race_for_a_budget_while_its_window_turns(tmp_path: Path, rounds: int) -> None:
    upstream = await asyncio.start_server(slow_upstream, "127.0.0.1", 0)
    route = UpstreamSettings(
        name="slow",
        base_url=f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}/v1",
        models=("*",),
    )
    world = await World.make(
        tmp_path / "data",
        workers=4,
        port=free_port(),
        log_level="warning",
        upstreams=(route,),
        journal_slots=8192,
    )
    await world.price("slow-1", input=1_000_000, output=1_000_000)
    for id in range(KEY, KEY + rounds):
        await world.key(id, cap=CAP, duration=Duration.DAILY)
    data = DataDir(world.settings.data_dir).prepare()
    drainer = Flock.attempt(data.drainer_lock)
    assert drainer is not None
    _say_that_somebody_drains(data)
    served: dict[int, int] = {}
    async with Turning(world.settings) as server, clients(world.settings.port, 50) as made:
        arena = attach.live(world.settings)
        assert arena is not None
        for number, id in enumerate(range(KEY, KEY + rounds)):
            index = arena.find(Kind.KEY, id, await digest(world, id))
            assert index is not None
            midnight = (FIRST_DAY + 2 * number) * DAY_MS
            served[id] = await one_round(server, made, world.keys[id], arena, index, midnight)
    journals = [Journal.open(str(path)) for path in data.journal_paths()]
    while await move(world.store, data, journals):
        pass
    drainer.release()
    rows = await world.all(
        "SELECT key_id, day, requests, cost_nano FROM spend_daily ORDER BY key_id, day"
    )
    assert all(int(str(cost)) == COST * int(str(count)) <= CAP for _, _, count, cost in rows)
    for id, count in served.items():
        assert sum(int(str(row[2])) for row in rows if row[0] == id) == count >= 3
    both = [id for id in served if sum(row[0] == id for row in rows) == 2]
    assert len(both) > rounds // 8, "the window seldom turned while they asked"
    await sums_agree(world)
    upstream.close()
    await world.close()
