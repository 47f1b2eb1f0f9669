"""A real redis-server on a free port, in a folder of its own, and what can befall it.

with RedisServer(folder) as redis: ... redis.url
"""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from tests.support.servers import free_port, until

PROGRAM = os.environ.get("NEMO_REDIS_SERVER", "redis-server")
"""Another version of Redis, or Valkey (``make redis-kinds``)."""


class RedisServer:
    """Run a redis-server that keeps nothing on disk.

    Without ``folder`` it runs in a temporary one, which ``kill`` removes. ``options`` are those of
    redis-server: ``--replicaof``, ``127.0.0.1``, ``7001``.
    """

    def __init__(
        self, folder: Path | None = None, *options: str, sentinel: Path | None = None
    ) -> None:
        self._temporary = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="nemo-redis-"))
        self.port = free_port()
        self._sentinel = sentinel
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> "RedisServer":
        """Start it empty, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        special = [str(self._sentinel), "--sentinel"] if self._sentinel else []
        command = [PROGRAM, *special, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", "."]
        if self._sentinel is None:
            command += [
                "--save",
                "",
                "--appendonly",
                "no",
                "--repl-diskless-sync-delay",
                "0",
                *self._options,
            ]
        with (self.folder / f"redis-{self.port}.log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        until(lambda: self.cli("PING") == "PONG", 10, self.folder / f"redis-{self.port}.log")
        return self

    def cli(self, *words: str) -> str:
        """Return the answer to one command; empty if the server cannot be reached."""
        command = ["redis-cli", "-p", str(self.port), "--no-auth-warning", *words]
        done = subprocess.run(command, capture_output=True, timeout=20, check=False)
        return done.stdout.decode("utf-8", "backslashreplace").strip()

    def signal(self, number: signal.Signals) -> None:
        """Send SIGSTOP, SIGCONT or SIGKILL."""
        os.kill(self.pid, number)
        if number is signal.SIGKILL and self._process is not None:
            self._process.wait()

    def kill(self) -> None:
        """SIGKILL: with it goes all it knew."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "RedisServer":
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.kill()
