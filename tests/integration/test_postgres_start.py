"""Test starts while PostgreSQL is away: a server waits, a command says so in one line.

No message contains the password.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nemorouter.errors import StoreAwayError
from nemorouter.server import serve
from nemorouter.settings import Settings
from nemorouter.store.engine import Store
from tests.support.postgres_server import PostgresServer
from tests.support.servers import free_port, until
from tests.support.serving import Server


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    made = PostgresServer()
    yield made
    made.remove()


def with_password(url: str) -> str:
    return url.replace("nemo@", "nemo:hunter2@")


async def test_a_server_waits_for_its_store(server: PostgresServer, tmp_path: Path) -> None:
    url = with_password(server.database())
    server.stop()
    settings = Settings(
        data_dir=tmp_path / "data", database_url=url, port=free_port(), capacity=100
    )
    gateway = Server(settings)
    gateway.start()
    try:
        await asyncio.to_thread(
            until, lambda: "store_away" in gateway.log.read_text(), 20, gateway.log
        )
        server.start()
        await gateway.ready()
        assert "hunter2" not in gateway.log.read_text()
    finally:
        await asyncio.to_thread(gateway.stop)


async def test_a_server_gives_up_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "_STORE_S", -1.0)
    url = f"postgresql://nemo:hunter2@127.0.0.1:{free_port()}/nemo"
    with pytest.raises(StoreAwayError, match="cannot be reached") as caught:
        await serve._prepared(Settings(data_dir=tmp_path / "data", database_url=url))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("command", [["keys", "list"], ["db", "status"], ["doctor"]], ids=" ".join)
def test_a_command_says_so(command: list[str], tmp_path: Path) -> None:
    url = f"postgresql://nemo:hunter2@127.0.0.1:{free_port()}/nemo"
    line = [sys.executable, "-c", "from nemorouter.cli import main; main()", *command]
    env = {
        **os.environ,
        "NEMOROUTER_DATABASE_URL": url,
        "NEMOROUTER_DATA_DIR": str(tmp_path / "data"),
    }
    done = subprocess.run(line, env=env, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "PostgreSQL cannot be reached" in done.stdout + done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


async def test_a_database_of_another_program_is_left_alone(
    server: PostgresServer, tmp_path: Path
) -> None:
    url = server.database()
    server.execute("CREATE TABLE users (name text)", url)
    with pytest.raises(Exception, match="holds tables of another program"):
        await Store.open(Settings(data_dir=tmp_path / "data", database_url=url), migrate=True)
    assert server.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", url) == "1"
