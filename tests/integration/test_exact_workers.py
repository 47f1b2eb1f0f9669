"""Four workers admit what one would: requests and tokens a minute, on a real server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from nemorouter.types import Kind
from tests.support.oracle import issued, worst_window
from tests.support.servers import free_port
from tests.support.serving import Answer, Client, Server, chat, clients
from tests.support.world import KEY, World

WORKERS = 4


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await World.make(
        tmp_path / "data", workers=WORKERS, port=free_port(), log_level="warning"
    )
    await made.key()
    yield made
    await made.close()


async def fire(world: World, bodies: list[bytes], connections: int) -> list[Answer]:
    """All at once: each connection sends its share one after the other."""
    answers: list[Answer] = []

    async def share(client: Client, some: list[bytes]) -> None:
        for body in some:
            answer = await client.ask(world.keys[KEY], body)
            assert answer is not None
            answers.append(answer)

    async with clients(world.settings.port, connections) as made:
        await asyncio.gather(
            *(share(client, bodies[i::connections]) for i, client in enumerate(made))
        )
    return answers


def worker_of(answer: Answer) -> str:
    """Return the number of a worker, with which its request ids begin."""
    return answer.headers["x-nemo-request-id"][: len("req_") + 16]


async def one_client_each(world: World, stack: AsyncExitStack) -> list[Client]:
    """Open a connection to each worker.

    A server is ready when its first worker is; a crowd that comes then is that one's alone.
    """
    found: dict[str, Client] = {}
    async with asyncio.timeout(30):
        while len(found) < WORKERS:
            client = await stack.enter_async_context(Client(world.settings.port))
            answer = await client.ask("sk-nemo-" + "x" * 20)
            assert answer is not None
            found.setdefault(worker_of(answer), client)
    return list(found.values())


async def test_requests_a_minute_over_four_workers(world: World) -> None:
    await world.scope(Kind.KEY, KEY, rpm=60)
    async with Server(world.settings) as server, AsyncExitStack() as stack:
        answers = []
        for client in await one_client_each(
            world, stack
        ):  # each admits one at least, however quick another is
            first = await client.ask(world.keys[KEY])
            assert first is not None
            answers.append(first)
        answers += await fire(world, [chat()] * (500 - WORKERS), 250)
        assert len(server.workers()) == WORKERS
        served = [answer for answer in answers if answer.status == 200]
        refused = [answer for answer in answers if answer.status == 429]
        assert len(served) + len(refused) == 500
        start = min(answer.begun_us for answer in answers)
        end = max(answer.ended_us for answer in answers)
        pressed = max(answer.begun_us for answer in refused) - min(
            answer.ended_us for answer in answers
        )
        assert 60 + issued(60, max(pressed, 0)) <= len(served) <= 60 + issued(60, end - start)
        assert {answer.code for answer in refused} == {"rate_limit_exceeded"}
        # An honest Retry-After: who waits for it alone is served.
        last = max(refused, key=lambda answer: answer.ended_us)
        assert 0 < int(last.headers["retry-after-ms"]) <= 1000
        assert last.headers["retry-after"] == "1"
        await asyncio.sleep(int(last.headers["retry-after-ms"]) / 1000)
        async with Client(world.settings.port) as client:
            again = await client.ask(world.keys[KEY])
        assert again is not None
        assert again.status == 200
    assert await world.one("SELECT count(DISTINCT journal_id), count(*) FROM requests") == (
        WORKERS,
        len(served) + 1,
    )
    assert len({worker_of(answer) for answer in refused}) > 1


async def test_tokens_a_minute_over_four_workers_with_settlement(world: World) -> None:
    """Reserve 5 + 95 tokens each and use 4: what is not used comes back."""
    limit = 2_000
    await world.scope(Kind.KEY, KEY, tpm=limit)
    body = chat(content="hi", max_tokens=95)
    async with Server(world.settings), AsyncExitStack() as stack:
        await one_client_each(world, stack)
        answers = await fire(world, [body] * 400, 100)
    served = sorted(
        (answer for answer in answers if answer.status == 200), key=lambda answer: answer.begun_us
    )
    assert {answer.code for answer in answers if answer.status != 200} <= {"tpm_limit_exceeded"}
    rows = await world.one(
        "SELECT count(*), sum(input_tokens + output_tokens), min(at_ms), max(at_ms) FROM requests"
    )
    count, used, first, last = (int(str(value)) for value in rows)
    assert count == len(served) > 20, "what was given back was not admitted again"
    elapsed = (last - first + 2) * 1000
    assert used <= limit + issued(limit, elapsed)
    # The net of reservation and refund, each at the latest time it can have happened, keeps every
    # window.
    estimate = -(-len(body) // 4) + 95
    events = [(answer.ended_us, used // count) for answer in served]
    assert estimate > used // count
    slack = max(answer.ended_us - answer.begun_us for answer in served)
    assert worst_window(sorted(events), limit) <= limit + issued(limit, slack)
