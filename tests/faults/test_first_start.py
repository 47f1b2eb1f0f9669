"""A first start that is cut off: nobody is left without a key, and what it left does not hinder."""

import asyncio
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import msgspec
import pytest

from nemorouter.services.operations.bootstrap import bootstrap
from nemorouter.settings import Settings
from nemorouter.store.engine import Store
from tests.support.servers import SERVE, Server, chat, free_port, until

_KEY = re.compile(r"sk-nemo-\w{20}")
_HOW = re.compile(r"^Make another: (nemorouter .*)$", re.MULTILINE)


def start(settings: Settings, output: Path) -> Server:
    """Begin to serve; what is printed goes to the file ``output``."""
    path = os.pathsep.join(path for path in sys.path if path)
    env = {**os.environ, **settings.to_env(), "PYTHONPATH": path}
    with output.open("wb") as file:
        command = [sys.executable, "-c", SERVE]
        process = subprocess.Popen(command, env=env, stdout=file, stderr=file)
    return Server(settings.port, process, output)


def serving(server: Server) -> str:
    """Return what the server printed, once it reports that it serves."""
    until(lambda: "serves" in server.log.read_text(), what=server.log)
    return server.log.read_text()


def answers(server: Server, key: str) -> bool:
    try:
        return server.call(body=chat(), key=key).status == 200
    except OSError:
        return False


def run(command: str) -> str:
    """Return the key that a printed command makes."""
    program = str(Path(sys.executable).parent / "nemorouter")
    words = [program, *shlex.split(command)[1:], "--json"]
    return str(msgspec.json.decode(subprocess.check_output(words))["key"])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path / "a folder", port=free_port(), capacity=100, log_level="warning"
    )


def test_a_key_that_was_never_shown_is_replaced(settings: Settings, tmp_path: Path) -> None:
    """The first start ended between the commit and the print, which no test can hit at will."""

    async def begin() -> str:
        store = await Store.open(settings, migrate=True)
        first = await bootstrap(store, settings)
        await store.close()
        assert first is not None
        return first.api_key or ""

    lost = asyncio.run(begin())
    for number, told in enumerate([True, False]):
        server = start(settings, tmp_path / f"log-{number}")
        printed = serving(server)
        assert bool(_HOW.search(printed)) == told
        assert lost not in printed
        if told:
            key = run(_HOW.findall(printed)[0])
            until(partial(answers, server, key))
        server.process.terminate()
        assert server.process.wait(20) == 0


@pytest.mark.parametrize(
    ("kills", "seed"),
    [pytest.param(3, 1, id="short"), pytest.param(60, 2, id="long", marks=pytest.mark.campaign)],
)
def test_a_start_that_is_killed_shows_its_key_or_the_next_one_says_how_to_get_one(
    tmp_path: Path, kills: int, seed: int
) -> None:
    rng = random.Random(seed)
    for number in range(kills):
        settings = Settings(
            data_dir=tmp_path / str(number), port=free_port(), capacity=100, log_level="warning"
        )
        server = start(settings, tmp_path / f"first-{number}")
        time.sleep(rng.random() * 2)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        printed = server.log.read_text()
        again = start(settings, tmp_path / f"second-{number}")
        printed += serving(again)
        key = _KEY.findall(printed)[0] if _KEY.search(printed) else run(_HOW.findall(printed)[0])
        until(partial(answers, again, key))
        again.process.terminate()
        assert again.process.wait(20) == 0
