"""Send canary keys wherever a client may put them, and search all that is written for them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from nemorouter.arena.attach import attach
from nemorouter.datadir.paths import DataDir
from nemorouter.errors import ConfigurationError
from nemorouter.settings import Settings
from tests.support.servers import free_port
from tests.support.serving import Client, Server, chat, holder
from tests.support.world import KEY, World, a_key


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await World.make(tmp_path / "data", port=free_port(), log_level="debug")
    await made.key()
    yield made
    await made.close()


def everything(world: World) -> Iterator[tuple[str, bytes]]:
    """All that is on disk and in shared memory, by name."""
    root = world.settings.data_dir
    note = DataDir(root).note()
    assert note is not None
    for path in [*root.rglob("*"), Path(note.path), root.parent / "server.log"]:
        if path.is_file():
            yield str(path), path.read_bytes()


def traces(world: World, secrets: dict[str, str]) -> list[str]:
    """List where a secret, or either half of its random part, can be found."""
    found: list[str] = []
    for name, content in everything(world):
        for where, secret in secrets.items():
            random_part = secret.removeprefix("sk-nemo-")
            for piece in (random_part[:10], random_part[10:]):
                if piece.encode() in content:
                    found.append(f"{where}: {name}")
    return found


async def send_canaries(port: int, real: str, canary: dict[str, str]) -> None:
    """Send canary keys in headers, bodies and the query, beside ``real``; no answer repeats one."""
    async with Client(port) as client:
        assert (answer := await client.ask(real)) is not None
        assert answer.status == 200
        assert (answer := await client.ask(canary["header"])) is not None
        assert answer.status == 401
        assert canary["header"] not in answer.body.decode()
        body = chat(content=f"my key is {canary['body']}")
        assert (answer := await client.ask(real, body)) is not None
        assert answer.status == 200  # it is echoed to its sender, and kept nowhere
        await client.ask(real, body[:-3])
        await client.ask(real, chat(model=f"gpt {canary['body']}"[:9]))
        await client.ask(canary["malformed"][:-1], chat())
        path = f"/v1/chat/completions?api_key={canary['query']}"
        assert (answer := await client.ask(real, chat(), path)) is not None
        assert canary["query"] not in answer.body.decode()
    async with Client(port) as client:
        two = f"Authorization: Bearer {real}\r\nAuthorization: Bearer {canary['double']}\r\n"
        answer = await client.raw(f"GET /v1/models HTTP/1.1\r\nHost: t\r\n{two}\r\n".encode())
        assert answer.status in (400, 401)
    async with Client(port) as client:
        bearer = f"Authorization: Bearer {canary['metrics']}\r\n"
        metrics = await client.raw(f"GET /metrics HTTP/1.1\r\nHost: t\r\n{bearer}\r\n".encode())
        assert real not in metrics.body.decode()


async def kill_worker_during_a_stream(server: Server, port: int, key: str) -> None:
    """Kill the worker while it reads ``key``, and wait until there is another one."""
    client = await Client(port).connect()
    asked = asyncio.create_task(client.ask(key, chat(stream=True, content=key)))
    server.kill_worker()
    await asked
    await client.close()
    while not server.workers():
        await asyncio.sleep(0.02)


async def test_a_key_leaves_no_trace(world: World) -> None:
    real = world.keys[KEY]
    canary = {
        where: a_key()
        for where in ("header", "query", "body", "double", "malformed", "metrics", "crash")
    }
    port = world.settings.port
    server = Server(world.settings)
    async with server:
        await send_canaries(port, real, canary)
        drainer = holder(world.settings.data_dir / "drainer.lock")
        for pid in (server.pid, *server.workers(), drainer):
            assert "Max core file size        0 " in Path(f"/proc/{pid}/limits").read_text()
            assert int(Path(f"/proc/{pid}/coredump_filter").read_text(), 16) == 0
        await kill_worker_during_a_stream(server, port, canary["crash"])
        assert traces(world, canary | {"real": real}) == []
    await attach(world.settings, world.store)
    found = traces(world, canary | {"real": real})
    assert found == []


async def test_the_search_finds_a_planted_key(world: World) -> None:
    """The positive control of the test above."""
    await attach(world.settings, world.store)
    planted = a_key()
    (world.settings.data_dir / "nemorouter.debug").write_text(f"GET /?k={planted}")
    assert len(traces(world, {"planted": planted})) == 2


async def test_peppers_are_in_their_file_only(world: World) -> None:
    await attach(world.settings, world.store)
    for _, pepper in world.peppers:
        homes = [
            name
            for name, content in everything(world)
            if pepper in content or pepper.hex().encode() in content
        ]
        assert homes == [str(world.settings.pepper_path)]


async def test_a_damaged_pepper_is_not_told(world: World) -> None:
    secret = world.peppers[0][1].hex()
    world.settings.pepper_path.write_text(f"1 {secret[:-1]}\n")
    with pytest.raises(ConfigurationError) as error:
        await attach(Settings.load(data_dir=world.settings.data_dir))
    assert secret[:12] not in str(error.value)
