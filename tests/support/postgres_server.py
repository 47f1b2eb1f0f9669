"""Real servers that tests need, started in temporary folders and on free ports."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

from tests.support.servers import free_port

_DEBIAN = Path("/usr/lib/postgresql")
_START_S = 30.0


class PostgresServer:
    """A PostgreSQL server of the tests, on 127.0.0.1.

    As root it runs as the user ``postgres``, for it refuses root.
    """

    def __init__(self, *options: str) -> None:
        self._names = count()
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="nemo-postgres-"))
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._user = None
        if os.geteuid() == 0:
            self._user = "postgres"
            shutil.chown(self.folder, self._user)
        self._run(
            "initdb",
            "-D",
            str(self._data),
            "-A",
            "trust",
            "-U",
            "nemo",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "-N",
        )
        self.start()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def pid(self) -> int:
        """Of the process that started all the others."""
        assert self._process is not None
        return self._process.pid

    def url(self, database: str = "postgres", port: int | None = None) -> str:
        """Return the URL of a database."""
        return f"postgresql://nemo@127.0.0.1:{port or self.port}/{database}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ("fsync=off", "max_connections=200", *self._options)
        arguments = [word for option in options for word in ("-c", option)]
        where = ["-D", str(self._data), "-p", str(self.port), "-h", "127.0.0.1", "-k", ""]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_program("postgres"), *where, *arguments],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                user=self._user,
            )
        end = time.monotonic() + _START_S
        while not self.answers():
            if time.monotonic() > end or self._process.poll() is not None:
                raise AssertionError((self.folder / "log").read_text("utf-8"))
            time.sleep(0.05)

    def answers(self) -> bool:
        """Return whether the server accepts connections now."""
        command = [_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "2"]
        return subprocess.run(command, check=False).returncode == 0

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT cuts its clients off, SIGQUIT is a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def freeze(self) -> None:
        """Stop every process of it where it stands."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        for pid in (self._process.pid, *_children(self._process.pid)):
            with suppress(ProcessLookupError):  # a child may end meanwhile
                os.kill(pid, number)

    def remove(self) -> None:
        """End it for good."""
        if self._process is not None:
            self.thaw()
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def database(self, template: str = "template1") -> str:
        """Make a database, or a copy of one that is not in use; return its URL."""
        name = f"test_{os.getpid()}_{next(self._names)}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever uses it."""
        self.execute(f'DROP DATABASE IF EXISTS "{url.rpartition("/")[2]}" WITH (FORCE)')

    def execute(self, statement: str, url: str | None = None) -> str:
        """Run one statement, and answer what it says, a row a line."""
        return self._run(
            "psql",
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            statement,
            url or self.url(),
        )

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [_program(program), *arguments],
            check=False,
            capture_output=True,
            cwd=self.folder,
            user=self._user,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()


def _program(name: str) -> str:
    """Find the newest program that Debian has, or the one on the path."""
    found = sorted(_DEBIAN.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    path = str(found[-1]) if found else shutil.which(name)
    assert path is not None, "PostgreSQL is missing: apt-get install postgresql"
    return path


def _children(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
