"""A programmable provider: the model's name says how it misbehaves. It keeps what it was sent."""

import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass
class Seen:
    """One request as it reached the provider."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    cancelled: bool = False


class FakeUpstream:
    """Listens on a free port; models ``fake-<behaviour>``. Use as a context manager."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self.seen: list[Seen] = []
        self.connections = 0
        self.alias: dict[str, str] = {}
        """Behaviours of models that are not named ``fake-...``."""
        self.released = threading.Event()
        """Set it to let ``fake-wait`` answer."""

    def __enter__(self) -> "FakeUpstream":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def settings(self, **fields: Any) -> tuple[Any, ...]:
        """Return the ``upstreams`` setting that leads to this provider."""
        from nemorouter.settings import UpstreamSettings

        return (
            UpstreamSettings(
                name="fake",
                base_url=f"http://127.0.0.1:{self.port}/v1",
                models=("fake-*", "gpt-*"),
                **fields,
            ),
        )

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as stream:
            while line := stream.readline():
                headers = {}
                while (header := stream.readline()) not in (b"\r\n", b""):
                    name, _, value = header.decode("latin-1").partition(":")
                    headers[name.lower()] = value.strip()
                body = msgspec.json.decode(stream.read(int(headers.get("content-length", "0"))))
                seen = Seen(line.split()[1].decode(), headers, body)
                self.seen.append(seen)
                try:
                    if not _BEHAVIOURS.get(
                        self.alias.get(body["model"], body["model"].removeprefix("fake-")), _ok
                    )(self, client, seen):
                        return
                except OSError:
                    seen.cancelled = True
                    return


def _answer(client: socket.socket, body: bytes, status: str = "200 OK", *headers: str) -> bool:
    head = [
        f"HTTP/1.1 {status}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *headers,
    ]
    client.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)
    return True


def completion(usage: Any, text: str = "four") -> bytes:
    """Make a chat completion with this usage."""
    message = {"role": "assistant", "content": text}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}
    return msgspec.json.encode(body | ({} if usage is None else {"usage": usage}))


def usage(given: Any = 11, made: Any = 7) -> dict[str, Any]:
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": 18}


def _ok(_: FakeUpstream, client: socket.socket, seen: Seen) -> bool:
    secrets = (
        "set-cookie: a=b",
        "openai-organization: org-secret",
        "x-ratelimit-limit-requests: 1",
        "x-upstream: 1",
    )
    return _answer(client, completion(usage()), "200 OK", *secrets, "openai-version: 2020-10-01")


def _with_usage(told: Any) -> Callable[..., bool]:
    return lambda _, client, seen: _answer(client, completion(told, "x" * 40))


def _wait(self: FakeUpstream, client: socket.socket, seen: Seen) -> bool:
    client.settimeout(0.02)
    while not self.released.is_set():
        try:
            if client.recv(1) == b"":
                seen.cancelled = True
                return False
        except TimeoutError:
            continue
    client.settimeout(None)
    return _ok(self, client, seen)


def _reset(_: FakeUpstream, client: socket.socket, seen: Seen) -> bool:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def _short(_: FakeUpstream, client: socket.socket, seen: Seen) -> bool:
    client.sendall(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
    )
    return False


def _garbage(_: FakeUpstream, client: socket.socket, seen: Seen) -> bool:
    client.sendall(b"\x00\x01\x02 not http at all\r\n\r\n")
    return False


def _html(_: FakeUpstream, client: socket.socket, seen: Seen) -> bool:
    client.sendall(
        b"HTTP/1.1 502 Bad\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>"
    )
    return True


def _redirect(_: FakeUpstream, client: socket.socket, seen: Seen) -> bool:
    client.sendall(
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/x\r\ncontent-length: 0\r\n\r\n"
    )
    return True


def _limited(_: FakeUpstream, client: socket.socket, seen: Seen) -> bool:
    body = b'{"error":{"message":"slow down","type":"x","code":"y","param":null}}'
    return _answer(client, body, "429 Too Many Requests", "retry-after: 7", "set-cookie: a=b")


def _tells_key(_: FakeUpstream, client: socket.socket, seen: Seen) -> bool:
    """Answer as a provider that repeats what it refuses."""
    body = {
        "error": {
            "message": f"Incorrect API key: {seen.headers.get('authorization')}",
            "type": "x",
            "code": "y",
        }
    }
    return _answer(client, msgspec.json.encode(body), "401 Unauthorized")


def _stream(
    *,
    pause: float = 0,
    events: int = 5,
    breaks: bool = False,
    tells: bool = True,
    split: bool = False,
) -> Callable[..., bool]:
    def behave(_: FakeUpstream, client: socket.socket, seen: Seen) -> bool:
        client.sendall(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
            b"\r\n"
        )
        for _number in range(events):
            choice = {"index": 0, "delta": {"content": "abcd"}, "finish_reason": None}
            _event(
                client,
                {"id": "x", "object": "chat.completion.chunk", "choices": [choice]},
                split=split,
            )
            time.sleep(pause)
        if breaks:
            return False
        asked = (seen.body.get("stream_options") or {}).get("include_usage")
        if tells and asked:
            _event(
                client,
                {"id": "x", "object": "chat.completion.chunk", "choices": [], "usage": usage()},
                split=split,
            )
        _chunk(client, b"data: [DONE]\n\n")
        client.sendall(b"0\r\n\r\n")
        return True

    return behave


def _event(client: socket.socket, data: Any, *, split: bool) -> None:
    event = b"data: %b\n\n" % msgspec.json.encode(data)
    for piece in (event[at : at + 7] for at in range(0, len(event), 7)) if split else (event,):
        _chunk(client, piece)


def _chunk(client: socket.socket, data: bytes) -> None:
    client.sendall(b"%x\r\n%b\r\n" % (len(data), data))


_BEHAVIOURS: dict[str, Callable[[FakeUpstream, socket.socket, Seen], bool]] = {
    "wait": _wait,
    "reset": _reset,
    "short": _short,
    "garbage": _garbage,
    "html": _html,
    "redirect": _redirect,
    "limited": _limited,
    "tells-key": _tells_key,
    "no-usage": _with_usage(None),
    "negative": _with_usage(usage(-5, 7)),
    "fraction": _with_usage(usage(1.5, 7)),
    "huge": _with_usage(usage(2**40, 7)),
    "text": _with_usage("lots"),
    "stream": _stream(),
    "stream-split": _stream(split=True),
    "stream-slow": _stream(pause=0.05, events=200),
    "stream-second": _stream(pause=0.05, events=20),
    "stream-break": _stream(breaks=True),
    "stream-no-usage": _stream(tells=False),
}
