"""Test the command line beside a running server: changes hold at the next request."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import nemorouter
from nemorouter.datadir.paths import DataDir
from nemorouter.settings import Settings
from tests.support.servers import free_port
from tests.support.serving import Client, Server

PACKAGE = str(Path(nemorouter.__file__).parents[1])


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """Two workers on a data directory that was empty."""
    settings = Settings(
        data_dir=tmp_path / "data",
        port=free_port(),
        workers=2,
        capacity=4096,
        journal_slots=256,
        log_level="warning",
    )
    async with Server(settings) as running:
        yield running
    note = DataDir(settings.data_dir).note()
    if note is not None:
        Path(note.path).unlink(missing_ok=True)


def command(server: Server, *arguments: str) -> list[str]:
    program = [sys.executable, "-c", "from nemorouter.cli import main; main()", *arguments]
    return [*program, "--data-dir", str(server.settings.data_dir), "--json"]


def environment() -> dict[str, str]:
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith("NEMOROUTER_")
    }
    return clean | {"PYTHONPATH": PACKAGE}


async def nemo(server: Server, *arguments: str) -> Any:
    done = await asyncio.to_thread(
        subprocess.run,
        command(server, *arguments),
        capture_output=True,
        check=False,
        env=environment(),
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def statuses(server: Server, key: str) -> set[int]:
    """Return the statuses on enough fresh connections to reach every worker."""
    found: set[int] = set()
    for _ in range(12):
        async with Client(server.settings.port) as client:
            answer = await client.ask(key)
            assert answer is not None
            found.add(answer.status)
    return found


async def test_a_change_is_applied_at_the_next_request(server: Server) -> None:
    key = (await nemo(server, "keys", "create", "--name", "live"))["key"]
    assert await statuses(server, key) == {200}
    await nemo(server, "keys", "update", "live", "--models", "o3")
    assert await statuses(server, key) == {403}
    await nemo(server, "keys", "update", "live", "--models", "all", "--budget", "0")
    assert await statuses(server, key) == {402}
    await nemo(server, "budgets", "clear", "--key", "live")
    await nemo(server, "teams", "update", "Default", "--status", "disabled")
    assert await statuses(server, key) == {401}
    await nemo(server, "teams", "update", "Default", "--status", "active")
    assert await statuses(server, key) == {200}
    await nemo(server, "keys", "revoke", "live")
    assert await statuses(server, key) == {401}


async def test_what_happened_is_shown(server: Server) -> None:
    key = (await nemo(server, "keys", "create", "--name", "live"))["key"]
    follower = await asyncio.create_subprocess_exec(
        *command(server, "logs", "--follow"), stdout=asyncio.subprocess.PIPE, env=environment()
    )
    assert follower.stdout is not None
    try:
        async with Client(server.settings.port) as client:
            answer = await client.ask(key)
        assert answer is not None
        line = await asyncio.wait_for(follower.stdout.readline(), 20)
    finally:
        follower.terminate()
        await follower.wait()
    followed = json.loads(line)
    assert followed["request_id"] == answer.headers["x-nemo-request-id"]
    (row,) = (await nemo(server, "logs", "--key", "live"))["data"]
    assert row == followed
    assert (row["status"], row["outcome"], row["upstream"], row["key_name"]) == (
        200,
        "ok",
        "echo",
        "live",
    )
    (day,) = (await nemo(server, "usage", "--by", "key"))["data"]
    assert (day["requests"], day["cost"], day["group"]) == (1, row["cost"], row["key_id"])
    shown = await nemo(server, "keys", "show", "live")
    assert (shown["spend"], shown["last_used_at"]) == (row["cost"], row["at"])
    checks = {check["name"]: check["state"] for check in (await nemo(server, "doctor"))["checks"]}
    assert set(checks.values()) <= {"ok", "warn"}
    assert {"arena", "drainer", "journals"} <= set(checks)
    printed = server.log.read_text()
    assert key not in printed
