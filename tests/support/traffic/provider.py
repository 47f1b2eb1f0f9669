"""A provider that misbehaves as the shapes say. The model's name tells which shape is meant.

Delays wait for events, not for a clock: until the client has what was sent before, or until all
other calls of the shape have their answers.
"""

import socket
import struct
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

import msgspec

from nemorouter.settings import UpstreamSettings
from tests.support.traffic.shapes import Sent, Step, coded, of_model

_PATIENCE_S: Final = 10.0


@dataclass
class Heard:
    """One request as it reached the provider."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Stage:
    """The state that client and provider of one model share."""

    heard: list[Heard] = field(default_factory=list)
    answered: int = 0
    seen: threading.Event = field(default_factory=threading.Event)
    """The client has all that was sent before."""
    others: threading.Event = field(default_factory=threading.Event)
    """All calls that were not admitted have their answers."""

    def look(self, calls: int) -> None:
        """Notice that all of the calls are either answered or at the provider."""
        if self.answered + len(self.heard) >= calls:
            self.others.set()


class Provider:
    """Listens on a free port. Use as a context manager."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self.stages: defaultdict[str, Stage] = defaultdict(Stage)

    def __enter__(self) -> "Provider":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for stage in self.stages.values():
            stage.seen.set()
            stage.others.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def settings(self, **fields: Any) -> tuple[UpstreamSettings, ...]:
        """Return the ``upstreams`` setting that leads here."""
        url = f"http://127.0.0.1:{self.port}/v1"
        return (UpstreamSettings(name="traffic", base_url=url, models=("*",), **fields),)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client, client.makefile("rb") as stream:
            try:
                while line := stream.readline():
                    heard = _hear(line, stream)
                    stage = self.stages[heard.body["model"]]
                    shape = of_model(heard.body["model"])
                    stage.heard.append(heard)
                    stage.look(shape.request.at_once)
                    answer = shape.answer
                    if answer is None or not Answering(client, stage, answer).run():
                        return
            except OSError:
                return


def _hear(line: bytes, stream: BinaryIO) -> Heard:
    headers: dict[str, str] = {}
    while (header := stream.readline()) not in (b"\r\n", b""):
        name, _, value = header.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    body = stream.read(int(headers.get("content-length", "0")))
    return Heard(line.split()[1].decode(), headers, msgspec.json.decode(body))


class Answering:
    """One answer on its way."""

    def __init__(self, client: socket.socket, stage: Stage, answer: Sent) -> None:
        self._client = client
        self._stage = stage
        self._answer = answer
        self._chunked = _framing(answer) == "chunked"

    def run(self) -> bool:
        """Send the answer. True if the connection can be used again."""
        answer = self._answer
        if answer.silent:
            return self._gone()
        if answer.raw:
            self._client.sendall(answer.raw.encode("latin-1"))
            return False
        self._client.sendall(_head(answer))
        if answer.coding:
            self._send(coded(_text(answer), answer.coding))
        elif not all(self._step(step) for step in answer.send):
            return False
        if self._chunked:
            trailers = "".join(f"{name}: {value}\r\n" for name, value in answer.trailers.items())
            self._client.sendall(f"0\r\n{trailers}\r\n".encode())
        return _framing(answer) != "close" and answer.length is None

    def _step(self, step: Step) -> bool:
        """Do a step. False if the answer ends with it."""
        if step.leave:
            return self._gone()
        match step.wait:
            case "seen":
                assert self._stage.seen.wait(_PATIENCE_S)
            case "others":
                assert self._stage.others.wait(_PATIENCE_S)
        time.sleep(step.pause)
        if step.text:
            self._send((step.text.replace("<cost>", "") * step.times).encode())
        if step.cut == "reset":
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return not step.cut

    def _send(self, data: bytes) -> None:
        self._client.sendall(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def _gone(self) -> bool:
        """Wait until the gateway closes the connection."""
        self._client.settimeout(_PATIENCE_S)
        assert self._client.recv(1) == b""
        return False


def _framing(answer: Sent) -> str:
    return answer.framing or ("chunked" if answer.events else "length")


def _text(answer: Sent) -> bytes:
    return "".join(step.text.replace("<cost>", "") * step.times for step in answer.send).encode()


def _head(answer: Sent) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} Whatever"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    if answer.coding:
        lines.append(f"content-encoding: {answer.coding}")
    match _framing(answer):
        case "chunked":
            lines.append("transfer-encoding: chunked")
        case "length":
            size = len(coded(_text(answer), answer.coding))
            lines.append(f"content-length: {size if answer.length is None else answer.length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
