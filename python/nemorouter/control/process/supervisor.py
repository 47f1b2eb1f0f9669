"""The control plane's own process, one a host, made when somebody first asks for a page.

Signing in and drawing pages must never take turns with model calls in a worker's loop, nor compete
for its core.
"""

import asyncio
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from nemorouter import log
from nemorouter.control.process import link
from nemorouter.control.process.reading import READS, ReadingLoop
from nemorouter.datadir.ending import Ending
from nemorouter.datadir.paths import DataDir
from nemorouter.errors import NemoError
from nemorouter.services.transaction.context import Context
from nemorouter.settings import Settings
from nemorouter.store.engine import Store

NICER: Final = 12
"""Than the workers: where they need every core whole, about a fifteenth of what one of them has
remains for pages.
"""
_PROGRAM: Final = (
    "import sys; from nemorouter.control.process.supervisor import main; "
    "main(*map(int, sys.argv[1:]))"
)
_SHORT_LIFE_S: Final = 5.0
_PAUSE_S: Final = 5.0  # after it died young; workers answer for themselves meanwhile
_END_S: Final = 10.0

_log = log.get_logger(__name__)


class ControlSupervisor:
    """Listens in the process's stead, starts it at the first request, and again should it die.

    The process outlives neither this one nor any of ``masters``.
    """

    def __init__(self, settings: Settings, masters: Sequence[int] = ()) -> None:
        self._masters = [str(pid) for pid in (os.getpid(), *masters)]
        self._path = DataDir(settings.data_dir).control_socket
        self._stopping = threading.Event()
        self._wake = os.pipe()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to listen; from here on no worker answers for the control plane itself."""
        self._thread = threading.Thread(target=self._live, name="nemorouter-control", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the process after what it is doing."""
        self._stopping.set()
        os.write(self._wake[1], b".")
        with self._lock:
            if self._process is not None:
                self._process.terminate()
        if self._thread is not None:
            self._thread.join(_END_S)

    def _live(self) -> None:
        while not self._stopping.is_set():
            young = True
            try:
                young = self._once()
            except OSError as error:
                _log.error("control_failed", reason=f"{type(error).__name__}: {error}")
            if young:
                self._stopping.wait(_PAUSE_S)

    def _once(self) -> bool:
        """One life of the process, from its first request on. Answers whether it died young."""
        with link.listen(self._path) as listener:
            try:
                ready, _, _ = select.select([listener.fileno(), self._wake[0]], [], [])
                if listener.fileno() not in ready or self._stopping.is_set():
                    return False
                begun = time.monotonic()
                command = [sys.executable, "-c", _PROGRAM, str(listener.fileno()), *self._masters]
                with self._lock:
                    self._process = subprocess.Popen(
                        command, pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL
                    )
                if self._stopping.is_set():
                    self._process.terminate()
                code = self._process.wait()
            finally:
                with suppress(FileNotFoundError):
                    self._path.unlink()
        if not self._stopping.is_set():
            _log.error("control_ended", exit_code=code)
        return time.monotonic() - begun < _SHORT_LIFE_S


def main(descriptor: int, *masters: int) -> None:
    """Run the control plane on the socket ``descriptor``, no longer than any of ``masters``."""
    settings = Settings.load()
    log.configure(settings.log_level)
    ending = Ending("control", list(masters), limit_s=2 * _END_S)
    try:
        asyncio.run(_serve(settings, descriptor, ending))
    except NemoError as error:
        sys.exit(f"nemorouter: {error}")


async def _serve(settings: Settings, descriptor: int, ending: Ending) -> None:
    # Half a second of imports, which the supervisor's own process does not need.
    from nemorouter.control.app import create_control

    over = asyncio.Event()
    ending.listen(asyncio.get_running_loop(), lambda _left_s: over.set())
    store = await Store.open(settings, migrate=False)
    reading = ReadingLoop(settings, create_control)
    try:
        await reading.start()
        app = by_method(reading, create_control(await Context.attach(store, settings), settings))
        running: set[asyncio.Task[None]] = set()
        listener = link.inherited(descriptor)
        _give_way()  # not before: a request waits for the start
        server = await asyncio.start_unix_server(
            partial(_answer, app, running), sock=listener, backlog=link.BACKLOG
        )
        async with server:
            await over.wait()
        if running:
            await asyncio.wait(running, timeout=_END_S / 2)
    finally:
        await reading.stop()
        await store.close()


def by_method(reading: link.AsgiApp, changing: link.AsgiApp) -> link.AsgiApp:
    """Make an app that lets one app answer what only reads, and another one all else."""

    async def app(scope: link.Message, receive: Any, send: link.Send) -> None:  # noqa: ANN401
        chosen = reading if scope["method"] in READS else changing
        await chosen(scope, receive, send)

    return app


def _give_way() -> None:
    """Lower the priority of every thread; Linux keeps one for each, and new ones take it over."""
    lower = min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICER)
    for thread in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, int(thread.name), lower)


async def _answer(
    app: link.AsgiApp,
    running: set[asyncio.Task[None]],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    task = asyncio.current_task()
    if task is not None:
        running.add(task)
        task.add_done_callback(running.discard)
    await link.answer(app, reader, writer)
