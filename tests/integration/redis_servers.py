"""A real redis-server on a free port, in a folder of its own, and what can befall it.

with RedisServer(tmp_path) as redis: ... redis.url
"""

import os
import signal
import subprocess
from pathlib import Path
from types import TracebackType

from tests.integration.servers import free_port, until

PROGRAM = os.environ.get("NEMO_REDIS_SERVER", "redis-server")
"""Another version of Redis, or Valkey (``make redis-kinds``)."""


class RedisServer:
    """Holds nothing on disk. ``options`` as redis-server takes them: ``--replicaof``,
    ``127.0.0.1``, ``7001``.
    """

    def __init__(self, folder: Path, *options: str, sentinel: Path | None = None) -> None:
        self.folder, self.port, self._sentinel = folder, free_port(), sentinel
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
        """What it answers to one command; empty if it cannot be reached."""
        command = ["redis-cli", "-p", str(self.port), "--no-auth-warning", *words]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=False
        ).stdout.strip()

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP freezes it, SIGCONT goes on."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL: with it goes all it knew."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> "RedisServer":
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.kill()
