"""A keep-alive load client on raw sockets: one request in flight per connection, no pipelining.

It checks every status it reads, so that a wrong answer is never timed as a fast one.
"""

import selectors
import socket
import time
from typing import NamedTuple


class Load(NamedTuple):
    """Answers counted, and the seconds they took."""

    answers: int
    seconds: float


def request(path: str, body: bytes = b"", key: str = "", method: str = "POST") -> bytes:
    """One HTTP/1.1 request as an SDK would send it, in bytes."""
    head = [
        f"{method} {path} HTTP/1.1",
        "host: 127.0.0.1",
        "accept: application/json",
        "accept-encoding: gzip, deflate",
        "user-agent: OpenAI/Python",
        "connection: keep-alive",
        *([f"authorization: Bearer {key}"] if key else []),
        *([f"content-type: application/json\r\ncontent-length: {len(body)}"] if body else []),
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class _Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def answer(self, expected: bytes) -> bool:
        """Read what is there; True when the answer is whole."""
        data = self.socket.recv(65_536)
        if not data:
            raise ConnectionError("the server closed the connection")
        self.buffer = self.buffer + data if self.buffer else data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return False
        if not head.startswith(expected):
            raise AssertionError(f"expected {expected!r}, got {self.buffer[:400]!r}")
        at = head.index(b"content-length: ") + 16
        if len(body) < int(head[at:].partition(b"\r\n")[0]):
            return False
        self.buffer = b""
        return True


def load(port: int, payload: bytes, status: int, seconds: float, connections: int = 16) -> Load:
    """Send ``payload`` over and over for ``seconds``; AssertionError at the first answer of another status."""
    expected = b"HTTP/1.1 %d" % status
    with selectors.DefaultSelector() as selector:
        for _ in range(connections):
            connection = _Connection(port)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.socket.sendall(payload)
        count, start = 0, time.perf_counter()
        while (now := time.perf_counter()) - start < seconds:
            for key, _ in selector.select(1):
                if key.data.answer(expected):
                    count += 1
                    key.data.socket.sendall(payload)
        for entry in list(selector.get_map().values()):
            entry.data.socket.close()
    return Load(count, now - start)
