"""Connect a worker to the process of the control plane: one Unix socket connection a request.

A frame is four bytes of length, then msgpack. A connection carries one request, so that two
requests cannot be mixed up.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[MutableMapping[str, Any], Callable[[], Awaitable[Message]], Send], Any]

BACKLOG: Final = 4096
MAX_FRAME: Final = 64 << 20
_LONGEST_PATH: Final = 100  # the system takes 107 bytes

Headers = list[tuple[bytes, bytes]]


class LinkRequest(msgspec.Struct, frozen=True, array_like=True):
    """A request without its body, which is sent when the app wants it."""

    method: str
    scheme: str
    path: str
    query: bytes
    http_version: str
    client: tuple[str, int]
    headers: Headers


class ResponsePart(msgspec.Struct, frozen=True, array_like=True):
    """A piece of the answer; the first one tells ``status`` and ``headers``.

    A part of the status ``WANT_BODY`` comes before the answer: the app reads the body.
    """

    status: int
    headers: Headers
    body: bytes
    more: bool


WANT_BODY: Final = 0
Read = Callable[[], Awaitable[bytes]]
"""Reads the body of a request."""

_encode: Final = msgspec.msgpack.Encoder().encode
_asked: Final = msgspec.msgpack.Decoder(LinkRequest).decode
_body: Final = msgspec.msgpack.Decoder(bytes).decode
_told: Final = msgspec.msgpack.Decoder(ResponsePart).decode


class BrokenLinkError(ConnectionError):
    """Report that the other process ended before its answer was whole.

    ``begun`` is true if a part of the answer was passed on.
    """

    def __init__(self, *, begun: bool) -> None:
        super().__init__("the control plane's process went away")
        self.begun = begun


async def relay(path: Path, scope: Message, read: Read, send: Send) -> bool:
    """Relay a request to the process at ``path``. False: no process listens, and nothing was sent.

    The body is read when the process wants it, which is after it knows who asks; an error of
    ``read`` is passed on. BrokenLinkError: the process ended before its answer was whole.
    """
    begun = False
    try:
        reader, writer = await _open(path)
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError as error:
        raise BrokenLinkError(begun=False) from error
    try:
        writer.write(_framed(_ask(scope)))
        more = True
        while more:
            part = _told(await _frame(reader))
            if part.status == WANT_BODY:
                writer.write(_framed(await read()))
                continue
            if not begun:
                await send(
                    {"type": "http.response.start", "status": part.status, "headers": part.headers}
                )
                begun = True
            await send({"type": "http.response.body", "body": part.body, "more_body": part.more})
            more = part.more
    except (OSError, asyncio.IncompleteReadError, msgspec.MsgspecError) as error:
        raise BrokenLinkError(begun=begun) from error
    finally:
        writer.close()
    return True


async def answer(app: AsgiApp, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request by the app, in the process of the control plane.

    An answer that breaks off closes the connection before its end.
    """
    try:
        ask = _asked(await _frame(reader))
        await app(_scope(ask), _receiver(reader, writer), _sender(writer))
    except (ConnectionError, asyncio.IncompleteReadError):
        pass  # the client, or its worker, is gone
    finally:
        writer.close()


def listen(path: Path) -> socket.socket:
    """Open a socket at ``path`` for this user alone, in place of one that is left over."""
    with suppress(FileNotFoundError):
        path.unlink()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _short(path) as name:
        made.bind(name)
    path.chmod(0o600)
    made.listen(BACKLOG)
    return made


def inherited(descriptor: int) -> socket.socket:
    """Open, in the child process, the listening socket that the parent process passed to it."""
    made = socket.socket(fileno=descriptor)
    made.setblocking(False)
    return made


def _receiver(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Callable[[], Awaitable[Message]]:
    given = False

    async def receive() -> Message:
        nonlocal given
        if given:
            await reader.read()
            return {"type": "http.disconnect"}
        given = True
        writer.write(_framed(ResponsePart(WANT_BODY, [], b"", more=True)))
        return {"type": "http.request", "body": _body(await _frame(reader)), "more_body": False}

    return receive


def _sender(writer: asyncio.StreamWriter) -> Send:
    status = 0
    headers = Headers()

    async def send(message: Message) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status = message["status"]
            headers = [(bytes(n), bytes(v)) for n, v in message["headers"]]
        elif message["type"] == "http.response.body":
            part = ResponsePart(
                status,
                headers,
                bytes(message.get("body", b"")),
                bool(message.get("more_body", False)),
            )
            writer.write(_framed(part))
            headers = []
            await writer.drain()

    return send


def _ask(scope: Message) -> LinkRequest:
    return LinkRequest(
        scope["method"],
        scope["scheme"],
        scope["path"],
        scope["query_string"],
        scope["http_version"],
        scope["client"],
        scope["headers"],
    )


def _scope(ask: LinkRequest) -> Message:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": ask.http_version,
        "method": ask.method,
        "scheme": ask.scheme,
        "path": ask.path,
        "raw_path": ask.path.encode(),
        "query_string": ask.query,
        "root_path": "",
        "headers": ask.headers,
        "client": ask.client,
        "server": None,
        "state": {},
        "extensions": {},
    }


async def _open(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    with _short(path) as name:
        return await asyncio.open_unix_connection(name)


class _short:  # noqa: N801 - reads as a phrase
    """A name of ``path`` that the system takes, however deep it lies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = -1

    def __enter__(self) -> str:
        if len(str(self._path).encode()) <= _LONGEST_PATH:
            return str(self._path)
        self._folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._folder}/{self._path.name}"

    def __exit__(self, *_: object) -> None:
        if self._folder >= 0:
            os.close(self._folder)


def _framed(value: LinkRequest | ResponsePart | bytes) -> bytes:
    data = _encode(value)
    return len(data).to_bytes(4, "big") + data


async def _frame(reader: asyncio.StreamReader) -> bytes:
    size = int.from_bytes(await reader.readexactly(4), "big")
    if size > MAX_FRAME:
        raise ConnectionError("a frame of the control plane is too large")
    return await reader.readexactly(size)
