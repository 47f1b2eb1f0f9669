"""Wake the host's agent: a worker sends a byte to a socket in the data directory.

A byte that is lost does no harm, since a worker that still needs a lease sends another. A worker
never waits.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LONGEST = 100  # bytes of a socket's address, with some to spare


class Bell:
    """Rings at ``path``; nobody may be there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def __call__(self) -> None:
        with suppress(OSError), _address(self._path) as address:
            self._socket.sendto(b"!", address)

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()


def open_listener(path: Path) -> socket.socket:
    """Open the agent's end, in place of a dead agent's.

    The caller holds ``drainer.lock``, which makes one agent a host.
    """
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        listener.setblocking(False)
        with _address(path) as address:
            listener.bind(address)
        path.chmod(0o600)
    except OSError:
        listener.close()
        raise
    return listener


def silence(listener: socket.socket) -> None:
    """Take out all that rang; once is enough."""
    with suppress(BlockingIOError):
        while listener.recv(16):
            pass


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """Yield an address for ``path``; a long path goes by way of its open directory.

    The name of a socket has room for 107 bytes.
    """
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
