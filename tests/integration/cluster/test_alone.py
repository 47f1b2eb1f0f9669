"""Test that one machine loads nothing of the cluster, in any process that ``serve`` starts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nemorouter.settings import Settings
from tests.support.load import admits
from tests.support.servers import Host, free_port
from tests.support.serving import Server
from tests.support.world import World

PROGRAM = """
import asyncio, sys
from nemorouter.app import App
from nemorouter.services.scopes import keys
from nemorouter.services.operations.bootstrap import local_actor
from nemorouter.services.transaction.context import Context
import pytest

from nemorouter.settings import Settings
from tests.support.serving import Server
from tests.support.world import World

async def main():
    app = App(Settings.load())
    await app.start()
    context = await Context.open(Settings.load())
    await keys.create(context, await local_actor(context), keys.NewKey(name="one"))
    await context.close()
    await app.stop()

asyncio.run(main())
heavy = {name for name in sys.modules if name.split(".")[0] in ("redis", "hiredis", "asyncpg")}
ours = {name for name in sys.modules if name.startswith("nemorouter.cluster")}
print(sorted(heavy | ours))
"""


def loaded(settings: Settings) -> str:
    """Return what was loaded of the cluster by a worker that served, and by a service."""
    env = {
        **os.environ,
        **settings.to_env(),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_one_machine_loads_nothing_of_many(tmp_path: Path) -> None:
    assert loaded(Host(tmp_path).settings) == "[]"


async def test_no_process_of_a_server_loads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python itself tells what each of them imports."""
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    world = await World.make(tmp_path / "data", workers=2, port=free_port())
    await world.key()
    async with Server(world.settings) as server:
        await admits(world)
    told = server.log.read_text()
    await world.close()
    imported = re.findall(r"^import time:.*\| +([\w.]+)$", told, re.MULTILINE)
    assert "nemorouter.gateway.driver" in imported, "the master imports what its workers share"
    assert imported.count("nemorouter.drainer.thread") >= 2, "the drainer's process imports its own"
    many = [
        name
        for name in imported
        if re.match(r"(redis|hiredis|asyncpg|nemorouter\.cluster)\b", name)
    ]
    assert many == []
