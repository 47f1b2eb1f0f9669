"""A client on a raw socket: it sends what it likes, and tells exactly what came back."""

import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

import msgspec

from tests.support.traffic.shapes import Piece

_TIMEOUT_S: Final = 15.0


@dataclass
class Got:
    """The answer that a client got. Header names are in lower case."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    whole: bool = False
    """The body ended as its framing says."""

    def header(self, name: str) -> str | None:
        return next((value for header, value in self.headers if header == name), None)

    @property
    def error(self) -> dict[str, Any]:
        """Return the error object of the contract, and nothing else."""
        body = msgspec.json.decode(self.body)
        assert set(body) == {"error"}, body
        assert set(body["error"]) == {"message", "type", "code"}, body
        error: dict[str, Any] = body["error"]
        return error


def head(
    method: str, target: str, headers: Sequence[tuple[str, str]], body: bytes | None = None
) -> bytes:
    """Return a request as a client library writes it."""
    lines = [f"{method} {target} HTTP/1.1", "host: test", "connection: close"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body is not None:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def talk(
    port: int,
    pieces: Sequence[Piece | bytes],
    *,
    split: bool = False,
    until: int | None = None,
    seen: Callable[[bytes], None] = lambda _: None,
) -> Got:
    """Send the pieces and read the answer.

    The client leaves when it has ``until`` bytes of the body. ``seen`` is told of the body each
    time that it grew.
    """
    with socket.create_connection(("127.0.0.1", port), _TIMEOUT_S) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            data = piece if isinstance(piece, bytes) else (piece.text * piece.times).encode()
            try:
                for part in (data[at : at + 1] for at in range(len(data))) if split else (data,):
                    client.sendall(part)
            except OSError:
                break  # the server closed: what it said before counts
            end = "" if isinstance(piece, bytes) else piece.end
            if end == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if end in ("close", "reset"):
                return Got()
            if end == "half":
                client.shutdown(socket.SHUT_WR)
        got = Got()
        with client.makefile("rb") as stream, suppress(OSError, ValueError):
            _read(stream, got, until, seen)
        return got


def _read(stream: BinaryIO, got: Got, until: int | None, seen: Callable[[bytes], None]) -> None:
    line = stream.readline()
    if not line:
        return
    got.status = int(line.split()[1])
    while (header := stream.readline()) not in (b"\r\n", b""):
        name, _, value = header.decode("latin-1").partition(":")
        got.headers.append((name.lower(), value.strip()))
    chunked = got.header("transfer-encoding") == "chunked"
    length = got.header("content-length")
    seen(b"")
    while until is None or len(got.body) < until:
        if chunked:
            size = int(stream.readline(), 16)
            data = stream.read(size)
            stream.readline()
            end = size == 0
        else:
            want = 65536 if length is None else int(length) - len(got.body)
            data = stream.read(want)
            end = len(data) == want if length is not None else not data
        got.body += data
        seen(got.body)
        if end:
            got.whole = True
            return
        if not data:
            return
