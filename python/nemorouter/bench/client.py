"""A load client on raw sockets, and one careful question. Every answer is read whole, and every
status is checked.

Closed loop: one request in flight a connection, the next one when its answer is there. Open loop:
requests are due at fixed instants, and a latency begins when its request was due, however long the
server kept the connections busy.
"""

import selectors
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

_HOST: Final = "127.0.0.1"


class Load(NamedTuple):
    """Answers counted, the seconds they took, and their latencies in seconds."""

    answers: int
    seconds: float
    latencies: Sequence[float] = ()


class Answer(NamedTuple):
    """One whole answer; names of headers are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def request(
    path: str, body: bytes = b"", key: str = "", method: str = "POST", **headers: str
) -> bytes:
    """One HTTP/1.1 request as an SDK would send it, in bytes."""
    lines = [
        f"{method} {path} HTTP/1.1",
        f"host: {_HOST}",
        "accept: application/json",
        "accept-encoding: identity",
        "user-agent: OpenAI/Python",
        *([f"authorization: Bearer {key}"] if key else []),
        *([f"content-type: application/json\r\ncontent-length: {len(body)}"] if body else []),
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def ask(port: int, payload: bytes, timeout: float = 20) -> Answer:
    """One question on a connection of its own."""
    with socket.create_connection((_HOST, port), timeout) as client:
        client.sendall(payload)
        data = b""
        while not whole(data):
            part = client.recv(1 << 20)
            if not part:
                raise ConnectionError("the server closed the connection")
            data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return Answer(
        int(first.split()[1]), headers, _joined(body) if "transfer-encoding" in headers else body
    )


def whole(data: bytes) -> bool:
    """Is this all of an answer? (Chunked, or with a length.)"""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = data[:end].lower()
    at = head.find(b"content-length:")
    if at >= 0:
        return len(data) - end - 4 >= int(head[at + 15 :].partition(b"\r\n")[0])
    if b"transfer-encoding: chunked" in head:
        return data.endswith(b"\r\n0\r\n\r\n")
    raise ValueError(f"an answer without length: {data[:200]!r}")


def _joined(body: bytes) -> bytes:
    parts = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        parts.append(rest[:length])
        body = rest[length + 2 :]
    return b"".join(parts)


class _Connection:
    __slots__ = ("buffer", "due", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((_HOST, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.due = 0.0

    def send(self, payload: bytes, due: float = 0.0) -> None:
        self.due = due
        self.socket.sendall(payload)

    def answered(self, expected: bytes) -> bool:
        """Read what is there; True when the answer is whole. AssertionError if it has another
        status.
        """
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server closed the connection")
        self.buffer = self.buffer + data if self.buffer else data
        if not whole(self.buffer):
            return False
        if not self.buffer.startswith(expected):
            raise AssertionError(f"expected {expected!r}, got {self.buffer[:400]!r}")
        self.buffer = b""
        return True


@contextmanager
def _connected(port: int, count: int) -> Iterator[tuple[selectors.BaseSelector, list[_Connection]]]:
    with selectors.DefaultSelector() as selector:
        connections = [_Connection(port) for _ in range(count)]
        for each in connections:
            selector.register(each.socket, selectors.EVENT_READ, each)
        try:
            yield selector, connections
        finally:
            for each in connections:
                each.socket.close()


def load(port: int, payload: bytes, status: int, seconds: float, connections: int = 16) -> Load:
    """Closed loop for ``seconds``; AssertionError at the first answer of another status."""
    expected = b"HTTP/1.1 %d" % status
    with _connected(port, connections) as (selector, clients):
        for client in clients:
            client.send(payload)
        count, start = 0, time.perf_counter()
        while (now := time.perf_counter()) - start < seconds:
            for key, _ in selector.select(1):
                if key.data.answered(expected):
                    count += 1
                    key.data.send(payload)
    return Load(count, now - start)


def paced(
    port: int, payload: bytes, status: int, seconds: float, rate: float, connections: int = 64
) -> Load:
    """Open loop: ``rate`` requests a second, evenly spaced, whatever the server does.

    A server that is far behind is given up: what it has not answered then counts with the time it
    has waited so far.
    """
    expected = b"HTTP/1.1 %d" % status
    latencies: list[float] = []
    total, patience = int(rate * seconds), 3 * seconds + 3
    with _connected(port, connections) as (selector, clients):
        idle, sent = deque(clients), 0
        start = time.perf_counter()
        while len(latencies) < total and time.perf_counter() - start < patience:
            due = start + sent / rate
            while sent < total and idle and due <= time.perf_counter():
                idle.popleft().send(payload, due)
                sent += 1
                due = start + sent / rate
            wait = 1.0 if sent == total or not idle else max(0.0, due - time.perf_counter())
            for key, _ in selector.select(wait if wait > 0.0005 else 0):
                if key.data.answered(expected):
                    latencies.append(time.perf_counter() - key.data.due)
                    idle.append(key.data)
        end, answers = time.perf_counter(), len(latencies)
        free = set(idle)
        latencies += [end - client.due for client in clients if client not in free]
        latencies += [end - start - number / rate for number in range(sent, total)]
    return Load(answers, end - start, latencies)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of all lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
