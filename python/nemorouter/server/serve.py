"""Run ``nemorouter serve``: prepare the data directory, then Granian's master and workers.

The settings of Granian are the cheapest that ``benches/load/probe.py`` found. Whatever is wrong
with the set-up is one line on stderr and exit code 1, before a server starts.
"""

import asyncio
import logging
import os
import resource
import shlex
import signal
import socket
import sys
import time

from granian.constants import HTTPModes, Interfaces, RuntimeModes, TaskImpl
from granian.log import LogLevels

from nemorouter import log
from nemorouter.arena import attach
from nemorouter.datadir import orphaned_arenas
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.secrets import stay_out_of_core_dumps
from nemorouter.errors import ConfigurationError, NemoError, StoreAwayError, system_reason
from nemorouter.server import orphaned_processes
from nemorouter.server.master import Master
from nemorouter.server.worker import CONNECTIONS, LOOP
from nemorouter.services.access import setup
from nemorouter.services.operations.bootstrap import bootstrap, note_shown, unshown_key
from nemorouter.services.transaction.context import Context
from nemorouter.settings import Settings
from nemorouter.store.engine import Store
from nemorouter.upstream.client import check_providers

_KILL_S = 1
"""The time after a worker's own last moment at which the master kills it."""
RUNTIMES = 2
"""Threads of Granian in each worker that speak HTTP. While one waits for the lock of Python the
other goes on, so that less is spent on sleep and waking than with one
(``benches/load/probe.py``).
"""
_STORE_S = 60.0
"""The time for which a start waits for the store."""

_log = log.get_logger(__name__)


def run(settings: Settings) -> None:
    """Serve until told to stop. SystemExit with code 1 when it cannot."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as SIGTERM: no traceback of an unfinished start
    stay_out_of_core_dumps()
    log.configure(settings.log_level)
    orphaned_arenas.sweep()
    try:
        orphaned_processes.end(DataDir(settings.data_dir))
        _require_port(settings)
        _require_shared_store(settings)
        check_providers(settings)
        key, setup_token = asyncio.run(_prepared(settings))
    except NemoError as error:
        sys.exit(f"nemorouter: {error}")
    except OSError as error:
        sys.exit(f"nemorouter: {system_reason(error)}")
    os.environ.update(settings.to_env())
    _report(settings, key, setup_token)
    server = Master(
        DataDir(settings.data_dir),
        "nemorouter.server.worker:worker",
        factory=True,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.RSGI,
        workers=settings.workers,
        loop=LOOP,
        task_impl=TaskImpl.asyncio,
        runtime_mode=RuntimeModes.st,
        runtime_threads=RUNTIMES,
        http=HTTPModes.http1,
        websockets=False,
        backlog=4096,
        backpressure=_connections() // RUNTIMES,
        log_level=LogLevels.warning,
        log_dictconfig=log.STANDARD_LOGGING,
        log_access=False,
        respawn_failed_workers=True,
        workers_kill_timeout=settings.shutdown_timeout + _KILL_S,
    )
    # Granian warns of more of these threads than cores; but they wait for Python's lock, not for a
    # core.
    logging.getLogger("_granian").addFilter(
        lambda line: "number of Rust threads" not in line.getMessage()
    )
    server.serve()


async def _prepared(settings: Settings) -> tuple[str | None, str | None]:
    """Prepare once the store answers: a database server may start later than this one.

    Return the first key, if this is the first run, and the token of the setup page, while it is
    open.
    """
    end = time.monotonic() + _STORE_S
    shown: list[str] = []  # before the store went away
    while True:
        try:
            token = await _prepare(settings, shown)
            return shown[0] if shown else None, token
        except StoreAwayError as error:
            if time.monotonic() > end:
                raise
            _log.warning(
                "store_away", reason=str(error), seconds_left=round(end - time.monotonic())
            )
            await asyncio.sleep(1.0)


async def _prepare(settings: Settings, shown: list[str]) -> str | None:
    """Make the data directory fit to serve from; return the token of the setup page.

    On the first run, add the first key to ``shown``.
    """
    store = await Store.open(settings, migrate=True)
    try:
        first = await bootstrap(store, settings)
        if first is not None and first.api_key is not None:
            shown.append(first.api_key)
            _print_first_key(first.api_key)
        unshown = await unshown_key(store)
        if unshown is not None:
            if not shown:
                _print_how_to_get_a_key(unshown, settings)
            await note_shown(store)
        token = await setup.issue(await Context.attach(store, settings))
        await attach.attach(settings, store)  # before the workers, so that they find it ready
    finally:
        await store.close()
    return token


def _print_first_key(key: str) -> None:
    """Print the first key as soon as it is in the store: the start may yet be cut off."""
    print(f"Your first API key, shown this once: {key}\n", flush=True)


def _print_how_to_get_a_key(alias: str, settings: Settings) -> None:
    place = shlex.quote(str(settings.data_dir))
    command = f"nemorouter keys create --name first --data-dir {place}"
    print(
        f"The first start was cut off before it could show its API key ({alias}).\n"
        f"Make another: {command}\n",
        flush=True,
    )


def _require_port(settings: Settings) -> None:
    """Raise ConfigurationError if the port is taken; Granian would share it with another server."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot listen on {settings.host} port {settings.port}: {error.strerror}."
        ) from error


def _require_shared_store(settings: Settings) -> None:
    """ConfigurationError if this is one of several hosts, and its store is its own."""
    own = f"sqlite:///{settings.data_dir}/"
    if settings.redis_url is not None and settings.database_url.startswith(own):
        raise ConfigurationError(
            "redis_url is set, so this server shares its limits with others, but its store lies "
            "in its own data "
            "directory. Set database_url to the PostgreSQL of all (postgresql://…)."
        )


def _connections() -> int:
    """Raise the limit of open files as far as the system allows; half of it is for clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return max(128, min(CONNECTIONS, soft // 2))


def _report(settings: Settings, key: str | None, setup_token: str | None) -> None:
    """Print where the server is, and on the first run a command that works when it is pasted."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{settings.port}"
    print(f"NemoRouter serves {url}/v1 from {settings.data_dir} with {settings.workers} worker(s).")
    if key is not None:
        print(f"\nTry it:\n\n{_example(url, key, settings)}\n")
    if setup_token is not None:
        print(f"Set up the owner's sign-in, once:\n\n  {url}/setup?token={setup_token}\n")
    sys.stdout.flush()


def _example(url: str, key: str, settings: Settings) -> str:
    """Return a command that works when it is pasted.

    Whether a provider has the model of a pattern is not known here.
    """
    header = f'    -H "Authorization: Bearer {key}"'
    if settings.upstreams:
        return f"  curl {url}/v1/models \\\n{header}"
    body = '{"model": "echo", "messages": [{"role": "user", "content": "Hello, Nemo!"}]}'
    json = '-H "Content-Type: application/json"'
    return f"  curl {url}/v1/chat/completions \\\n{header} {json} \\\n    -d '{body}'"
