"""One machine loads nothing of many."""

import os
import subprocess
import sys
from pathlib import Path

from nemorouter.settings import Settings
from tests.integration.servers import Host

PROGRAM = """
import asyncio, sys
from nemorouter.app import App
from nemorouter.services import keys
from nemorouter.services.bootstrap import local_actor
from nemorouter.services.context import Context
from nemorouter.settings import Settings

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
    """What a worker that served and a service that changed something have loaded of the cluster."""
    env = {**os.environ, **settings.to_env(), "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_one_machine_loads_nothing_of_many(tmp_path: Path) -> None:
    assert loaded(Host(tmp_path).settings) == "[]"
