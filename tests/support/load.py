"""A load of requests on a server that is about to be killed."""

import asyncio
import random
import time

from nemorouter.ids import request_from_text
from tests.support.serving import Client, chat
from tests.support.world import KEY, World


class Load:
    """Clients that keep every answer they got; a connection that breaks is opened again."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.answered: dict[tuple[int, int], int] = {}
        self.broken = 0
        self.over = False

    async def run(self, seed: int) -> None:
        rng = random.Random(seed)
        client = Client(self.world.settings.port)
        while not self.over:
            body = chat(content="x" * rng.randint(1, 300), max_tokens=100)
            answer = await client.ask(self.world.keys[rng.choice(list(self.world.keys))], body)
            if answer is None:
                self.broken += 1
                await asyncio.sleep(0.01)
            elif answer.status == 200:
                row = request_from_text(answer.headers["x-nemo-request-id"])
                assert row not in self.answered
                whole, _, part = answer.headers["x-nemo-request-cost"].partition(".")
                self.answered[row] = int(whole) * 10**9 + int(part.ljust(9, "0"))
            else:
                assert answer.status == 503, answer
        await client.close()


async def admits(world: World) -> float:
    """Seconds until a request is answered."""
    begun = time.monotonic()
    async with Client(world.settings.port) as client:
        while (answer := await client.ask(world.keys[KEY])) is None or answer.status != 200:
            assert time.monotonic() < begun + 10
            await asyncio.sleep(0.01)
    return time.monotonic() - begun
