"""Run the gateway with the gate in pure Python: the app of ``serve``, in one worker.

Arena and journal are private memory of the worker. No other process can read the journal, so a task
of the worker writes its rows into the store.
"""

import asyncio
from typing import Any, cast

from nemorouter.app import App, upstream_routes
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.secrets import load_peppers
from nemorouter.gateway.forward import Forwarder
from nemorouter.gateway.front import Front
from nemorouter.gateway.models import Models
from nemorouter.gateway.pipeline import Pipeline
from nemorouter.gateway.status import Status
from nemorouter.reference import Arena, Gate, Journal
from nemorouter.settings import Settings
from nemorouter.store.engine import Store
from nemorouter.store.journals import move
from nemorouter.store.policies import all_policies, all_prices

_TICK_S = 0.05


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
        gate = cast("Any", Gate(arena, journal, load_peppers(settings.pepper_path)))
        routes = upstream_routes(settings)
        self._open.push_async_callback(routes.close)
        pipeline = Pipeline(gate, settings, routes.resolve, Forwarder(ietf_headers=False))
        self._drainer = asyncio.ensure_future(_drain(store, DataDir(settings.data_dir), journal))
        self._open.callback(self._drainer.cancel)
        self._answer = Front(
            pipeline, Models(pipeline, routes, _no_names), Status(gate, DataDir(settings.data_dir))
        )


async def _drain(store: Store, data: DataDir, journal: Any) -> None:
    """Move the rows of ``journal`` into ``store``, twenty times a second."""
    while True:
        await asyncio.sleep(_TICK_S)
        await move(store, data, [journal])


async def _no_names() -> list[str]:
    return []


app = PureApp(Settings.load())
