"""Compose store, memory, gate, upstreams and router for one worker.

``nemorouter.app:app`` serves under any ASGI or RSGI server, with settings from the environment.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import Any, Final

from nemorouter import log
from nemorouter._core import Gate, Guard, Routes, Worker
from nemorouter.arena import attach
from nemorouter.bodies import Bodies
from nemorouter.control.process.bridge import Control
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.secrets import load_peppers
from nemorouter.drainer.thread import Drainer
from nemorouter.errors import NemoError, StoreError, system_reason
from nemorouter.gateway import asgi
from nemorouter.gateway.driver import Driver
from nemorouter.gateway.forward import Forwarder
from nemorouter.gateway.host import has_one_host, refuse_host
from nemorouter.gateway.models import Known, Models
from nemorouter.gateway.router import Router, not_ready
from nemorouter.gateway.status import StatusPages
from nemorouter.gateway.wire import Connection, Scope
from nemorouter.services.budgets.watch import Watcher
from nemorouter.settings import Settings
from nemorouter.store.engine import Store
from nemorouter.store.policies import all_prices
from nemorouter.upstream.client import connect
from nemorouter.upstream.echo import Echo
from nemorouter.upstream.routes import UpstreamRoutes

MISCONFIGURED: Final = 3
"""Exit code of a worker that another start would not help."""
_KNOWN_FOR_S: Final = 5.0
_PATIENCE_S: Final = 2.0  # with a store that may be away


@contextmanager
def explained() -> Iterator[None]:
    """End the worker with one line that explains a mistake in the set-up.

    Some servers would print a traceback.
    """
    try:
        yield
    except (NemoError, OSError) as error:
        reason = system_reason(error) if isinstance(error, OSError) else str(error)
        print(f"nemorouter: {reason}", file=sys.stderr, flush=True)
        sys.exit(MISCONFIGURED)


class App:
    """The gateway as an ASGI app and as Granian's RSGI app. Until it is started it answers 503."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._answer: Any = not_ready
        self._open = AsyncExitStack()
        self._gate: Gate | None = None
        self._bodies: list[Bodies] = []

    def __rsgi__(self, scope: Scope, connection: Connection) -> Coroutine[Any, Any, None]:
        answer = self._answer if has_one_host(scope) else refuse_host
        answering: Coroutine[Any, Any, None] = answer(scope, connection)
        return answering

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        with explained():
            loop.run_until_complete(self.start())

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.run_until_complete(self.stop())

    async def __call__(self, scope: asgi.AsgiScope, receive: asgi.Receive, send: asgi.Send) -> None:
        """ASGI 3."""
        if scope["type"] == "http":
            request = asgi.AsgiRequest(scope, receive, send, self._settings.max_body_bytes)
            await (self._answer if has_one_host(scope) else refuse_host)(scope, request)
            await request.flush()
        elif scope["type"] == "lifespan":
            await asgi.lifespan(receive, send, self.start, self.stop)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def start(self) -> None:
        """Open everything. ConfigurationError where something cannot be used."""
        settings = self._settings
        routes = upstream_routes(settings)
        self._open.push_async_callback(routes.close)
        gate, store = await open_gate(settings, routes.names, self._open)
        self._gate = gate
        durable = settings.durability == "commit"
        worker = new_worker(gate, settings, routes.table, echo=routes.echo)
        calls = Bodies.of_calls(settings)
        forms = Bodies.of_forms(settings)
        self._bodies = [calls, forms]
        router = Router(
            worker,
            Models(worker, gate, routes, _priced(store)),
            StatusPages(gate, DataDir(settings.data_dir)),
            Control(settings, store, forms),
        )
        driver = Driver(
            worker,
            Forwarder(routes.upstreams, durable=durable),
            router,
            max_body=settings.max_body_bytes,
            bodies=calls,
            wake=wake_agent(settings, self._open),
            durable=durable,
        )
        self._answer = driver.__call__  # bound once: to call an object is to look for its method

    def in_flight(self) -> int:
        """Count the model calls of this worker that are admitted and not settled."""
        counters = {} if self._gate is None else self._gate.journal.counters()
        return counters.get("admitted", 0) - counters.get("settled", 0)

    def close_bodies(self) -> None:
        """Give the bodies that are not whole yet a last second."""
        for bodies in self._bodies:
            bodies.close()

    async def stop(self) -> None:
        """Refuse what comes now, and close everything in reverse order."""
        self._answer = not_ready
        await self._open.aclose()


async def open_gate(
    settings: Settings, upstreams: Sequence[str], stack: AsyncExitStack
) -> tuple[Gate, Store]:
    """Open this worker's gate on the host's arena, with a journal of its own.

    The worker also becomes a candidate for draining and for alerts. ``stack`` closes all of it.
    ConfigurationError: something cannot be used.
    """
    arena = await attach.join(settings)
    store = (
        Store.open_lazily(settings)
        if arena is not None
        else await Store.open(settings, migrate=True)
    )
    stack.push_async_callback(store.close)
    if arena is None:
        arena = await attach.attach(settings, store)
    stack.callback(attach.detach, settings)
    journal = await attach.new_journal(settings, upstreams)
    drainer = Drainer(settings)
    drainer.start()
    stack.push_async_callback(asyncio.to_thread, drainer.stop)
    watcher = Watcher(settings)
    watcher.start()
    stack.push_async_callback(asyncio.to_thread, watcher.stop)
    return Gate(arena, journal, load_peppers(settings.pepper_path)), store


def new_worker(
    gate: Gate,
    settings: Settings,
    routes: Routes,
    *,
    echo: int | None = None,
    guard: Guard | None = None,
) -> Worker:
    """Make the request path of this worker's gate.

    ``echo`` is the number of the built-in upstream. ``guard`` decides what needs a key in front of
    a wrapped app.
    """
    return Worker(
        gate,
        routes=routes,
        echo=echo,
        guard=guard,
        trusted_proxies=list(settings.trusted_proxies),
        max_body=settings.max_body_bytes,
        max_headers=settings.max_header_bytes,
        ietf=settings.ietf_rate_limit_headers,
    )


def wake_agent(settings: Settings, stack: AsyncExitStack) -> Callable[[], None]:
    """Return the function that wakes this host's agent; on a single host it does nothing."""
    if settings.redis_url is None:
        return lambda: None
    # Only here, so that one machine loads nothing of the cluster.
    from nemorouter.cluster.wake import Bell

    bell = Bell(DataDir(settings.data_dir).agent_socket)
    stack.callback(bell.close)
    return bell


def upstream_routes(settings: Settings) -> UpstreamRoutes:
    """Make the upstreams of the settings; without any, echo serves every model."""
    if not settings.upstreams:
        return UpstreamRoutes([(Echo(), ["*"])])
    configured = zip(connect(settings), settings.upstreams, strict=True)
    return UpstreamRoutes([(upstream, entry.models) for upstream, entry in configured])


def _priced(store: Store) -> Known:
    """Return a reader of the models that have a price.

    The reader asks the store every few seconds at most.
    """
    known: list[str] = []
    until = 0.0

    async def names() -> Sequence[str]:
        nonlocal known, until
        if time.monotonic() >= until:
            until = time.monotonic() + _KNOWN_FOR_S
            with suppress(StoreError, TimeoutError):  # what was known will do
                async with asyncio.timeout(_PATIENCE_S), store.read() as connection:
                    known = [price.model for price in await all_prices(connection)]
        return known

    return names


def create_app(settings: Settings | None = None) -> App:
    """Make the whole gateway, from ``settings`` or from the environment."""
    settings = Settings.load() if settings is None else settings
    log.configure(settings.log_level)
    return App(settings)


def __getattr__(name: str) -> App:
    """``app`` is made when it is asked for, so that an import reads no settings."""
    if name == "app":
        with explained():
            return globals().setdefault("app", create_app())  # type: ignore[no-any-return]
    raise AttributeError(name)
