"""Run the gateway with gate and stages of a request in pure Python, in one worker.

Arena and journal are private memory of the worker. No other process can read the journal, so a task
of the worker writes its rows into the store.
"""

import asyncio
from typing import Any

import msgspec

from nemorouter._core import Peek, echo_chat, peek
from nemorouter.app import App
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.secrets import load_peppers
from nemorouter.errors import CATALOGUE, Code
from nemorouter.gateway import status
from nemorouter.gateway.wire import Connection, HeaderList, Scope, Whole
from nemorouter.reference import Arena, Gate, Journal
from nemorouter.settings import Settings
from nemorouter.store.engine import Store
from nemorouter.store.journals import move
from nemorouter.store.policies import all_policies, all_prices
from nemorouter.types import NANO, Endpoint, Outcome

_TICK_S = 0.05
_JSON = ("content-type", "application/json")


class PureApp(App):
    """The gateway's app, with gate, arena and journal of the reference."""

    async def start(self) -> None:
        """Load all policies from the store, once, and start the task that writes rows."""
        settings = self._settings
        store = await Store.open(settings, migrate=True)
        self._open.push_async_callback(store.close)
        arena = Arena.private(settings.capacity)
        journal = Journal.private(settings.journal_slots, ("echo",))
        async with store.read() as connection:
            async for lot in all_policies(connection):
                arena.put_many(lot)
            for price in await all_prices(connection):
                arena.put_price(price)
        gate = Gate(arena, journal, load_peppers(settings.pepper_path))
        self._drainer = asyncio.ensure_future(_drain(store, DataDir(settings.data_dir), journal))
        self._open.callback(self._drainer.cancel)
        self._answer = Calls(gate)


class Calls:
    """Answer chat completions as echo does, decided by the reference."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def __call__(self, scope: Scope, connection: Connection) -> None:
        """Answer a request: a chat completion, or the health of the process for any other path."""
        if scope.path != "/v1/chat/completions":
            connection.response_bytes(*status.health())
            return
        gate = self._gate
        started_us = gate.now_us()
        authorization = scope.headers.get("authorization")
        index = gate.identify(authorization, scope, Endpoint.CHAT_COMPLETIONS)
        if index < 0:
            connection.response_bytes(*self._refused(Code(-index), started_us, []))
            return
        body = await connection()
        seen = peek(body, Endpoint.CHAT_COMPLETIONS)
        if not isinstance(seen, Peek):
            connection.response_bytes(*self._refused(Code(seen[0]), started_us, []))
            return
        asked = (seen.model, Endpoint.CHAT_COMPLETIONS, 0, len(body), seen.output, seen.choices)
        verdict = gate.admit(index, *asked, stream=seen.stream)
        if not isinstance(verdict, int):
            rates = gate.rate_headers(index)
            connection.response_bytes(*self._refused(Code(verdict.code), started_us, rates))
            return
        identity = gate.request_id(verdict)
        answered = echo_chat(body, identity[4:])
        answer, given, made = answered if answered is not None else (b"{}", 0, 0)
        latency_us = gate.now_us() - started_us
        usage = given, 0, made
        cost = gate.settle(verdict, *usage, 200, Outcome.OK, latency_us, None)
        headers = [*gate.rate_headers(index), _JSON, *self._ours(identity, started_us)]
        if cost is not None:
            headers.append(("x-nemo-request-cost", f"{cost // NANO}.{cost % NANO:09d}"))
        connection.response_bytes(200, headers, answer)

    def _refused(self, code: Code, started_us: int, rates: HeaderList) -> Whole:
        row = CATALOGUE[code]
        body = {"error": {"message": row.message, "type": row.type, "code": row.code}}
        ours = self._ours(self._gate.request_id(None), started_us)
        return row.status, [_JSON, *rates, *ours], msgspec.json.encode(body)

    def _ours(self, identity: str, started_us: int) -> HeaderList:
        latency = str((self._gate.now_us() - started_us) / 1000)
        ids = [("x-nemo-request-id", identity), ("x-request-id", identity)]
        return [*ids, ("x-nemo-latency-ms", latency)]


async def _drain(store: Store, data: DataDir, journal: Any) -> None:
    """Move the rows of ``journal`` into ``store``, twenty times a second."""
    while True:
        await asyncio.sleep(_TICK_S)
        await move(store, data, [journal])


app = PureApp(Settings.load())
