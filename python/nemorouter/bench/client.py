"""Send HTTP requests over raw sockets: one at a time (``ask``), or as load.

Every answer is read to its end, and every status is checked. ``load`` is a closed loop: each
connection sends its next request when the answer to the last one has arrived. ``paced`` is an open
loop: requests are due at fixed instants, and a latency counts from the instant at which its request
was due, so that a busy server cannot hide its delays.
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
    """The result of a load: the number of answers, its duration and the latencies, in seconds."""

    answers: int
    seconds: float
    latencies: Sequence[float] = ()


class HttpResponse(NamedTuple):
    """A complete HTTP response; the names of its headers are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def request(
    path: str, body: bytes = b"", key: str = "", method: str = "POST", **headers: str
) -> bytes:
    """Build an HTTP/1.1 request with the headers that an SDK sends; return its bytes."""
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


def ask(port: int, payload: bytes, timeout: float = 20) -> HttpResponse:
    """Send ``payload`` over a new connection to this machine; return the response.

    OSError if the server closes early; ``timeout`` is in seconds and counts for each read.
    """
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
    if "transfer-encoding" in headers:
        body = _joined(body)
    return HttpResponse(int(first.split()[1]), headers, body)


def whole(data: bytes) -> bool:
    """Tell whether ``data`` holds a complete HTTP response; ValueError if none has an end."""
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
    """Join the chunks of a body in ``transfer-encoding: chunked``."""
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
        """Read once; return True if the response is now complete.

        AssertionError if the response does not begin with ``expected``.
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
    """Run a closed loop for ``seconds``; AssertionError at the first answer of another status."""
    expected = b"HTTP/1.1 %d" % status
    with _connected(port, connections) as (selector, clients):
        for client in clients:
            client.send(payload)
        count = 0
        start = time.perf_counter()
        while (now := time.perf_counter()) - start < seconds:
            for key, _ in selector.select(1):
                if key.data.answered(expected):
                    count += 1
                    key.data.send(payload)
    return Load(count, now - start)


def paced(
    port: int, payload: bytes, status: int, seconds: float, rate: float, connections: int = 64
) -> Load:
    """Run an open loop for ``seconds``: ``rate`` requests a second, at even distances.

    The loop gives up on a server that is far behind. Each request that is then unanswered counts
    with the time for which it has waited. AssertionError at the first answer of another status.
    """
    expected = b"HTTP/1.1 %d" % status
    latencies: list[float] = []
    total = int(rate * seconds)
    patience = 3 * seconds + 3
    with _connected(port, connections) as (selector, clients):
        idle = deque(clients)
        sent = 0
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
        end = time.perf_counter()
        answers = len(latencies)
        free = set(idle)
        latencies += [end - client.due for client in clients if client not in free]
        latencies += [end - start - number / rate for number in range(sent, total)]
    return Load(answers, end - start, latencies)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which the fraction ``share`` (0 to 1) of all values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
