"""Read the shapes of traffic: what clients and providers send, as ``tests/data/traffic`` holds it.

The README of that folder explains the fields. A field that nobody knows is an error.
"""

import gzip
import tomllib
import zlib
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

FOLDER: Final = Path(__file__).parents[2] / "data" / "traffic"
GATEWAYS: Final = ("rsgi", "asgi", "uvicorn")
"""The whole gateway: RSGI on Granian, ASGI on Granian, ASGI on uvicorn."""
WRAPPED: Final = ("wrapped-rsgi", "wrapped-asgi", "wrapped-uvicorn")
"""An app that ``NemoAuth`` wraps, on the servers in that order."""
DRIVERS: Final = (*GATEWAYS, *WRAPPED)
_INPUT_BYTES: Final = 96
"""Bytes of a body that the data does not give: 24 tokens of input by the estimate."""
_STREAM_OPTIONS: Final = ("chat/completions", "completions")
COST: Final = '"nemo_request_cost":"%s",'


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One step of the provider."""

    text: str = ""
    times: int = 1
    hidden: bool = False
    leave: bool = False
    pause: float = 0.0
    cut: Literal["", "close", "reset"] = ""
    wait: Literal["", "seen", "others"] = ""


class Sent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The provider's answer."""

    headers: dict[str, str] = {}
    status: int = 200
    send: tuple[Step, ...] = ()
    coding: Literal["", "gzip", "deflate"] = ""
    framing: Literal["", "length", "chunked", "close"] = ""
    length: int | None = None  # in the place of the true one
    trailers: dict[str, str] = {}
    raw: str = ""  # in the place of an HTTP answer
    silent: bool = False  # no answer at all

    @property
    def events(self) -> bool:
        """True if the answer is labelled as an event stream."""
        kind = self.headers.get("content-type", "")
        return kind.partition(";")[0].strip().lower() == "text/event-stream"


class Piece(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One step of a client that speaks for itself."""

    text: str = ""
    times: int = 1
    end: Literal["", "close", "half", "reset"] = ""


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The client's request, where it is not a plain call."""

    method: str = "POST"
    target: str = ""
    headers: dict[str, str] = {}
    credential: Literal["bearer", "none", "wrong", "x-api-key"] = "bearer"
    fields: dict[str, Any] = {}
    padding: dict[str, int] = {}  # bytes to stand for "<name>" in a text of the body
    text: str | None = None
    send: tuple[Piece, ...] = ()
    split: bool = False  # byte by byte
    at_once: int = 1


class Expect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The expected outcome of a call. No ``tokens``: it leaves no row."""

    tokens: tuple[int, int, int] | None = None
    usage: dict[str, int] = {}
    source: str = "provider"
    outcome: str = "ok"
    status: int | None = None
    code: str = ""
    says: str = ""  # a part of the error's message
    body: str | None = None  # in the place of what the provider sent
    headers: dict[str, str] = {}
    provider_status: int | None = None
    upstream: dict[str, Any] | None = None  # members of the body that reaches the provider
    admitted: int | None = None  # of ``at_once``


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One example of a kind of traffic."""

    row: str
    what: str
    expect: Expect
    path: str = "chat/completions"
    answer: Sent | None = None
    request: Asked = Asked()
    key: dict[str, Any] = {}
    price: dict[str, str | int] = {}
    wrapped: dict[str, Any] = {}
    skip: dict[str, str] = {}

    def expected(self, driver: str) -> Expect:
        """Return what is expected of a driver; a wrapped app's answer is its own affair."""
        if driver not in WRAPPED or not self.wrapped:
            return self.expect
        told = msgspec.to_builtins(self.expect) | self.wrapped
        return msgspec.convert(told, Expect)

    def kept_out(self, driver: str) -> str | None:
        """Return why a driver cannot hold the shape; None if it can."""
        return self.skip.get(driver) or (self.skip.get("wrapped") if driver in WRAPPED else None)

    def sent(self, *, hidden: bool = True, cost: str = "") -> bytes:
        """Return what the provider sends until the client leaves, with ``cost`` in its place."""
        parts = []
        for step in self.answer.send if self.answer else ():
            if step.leave:
                break
            if hidden or not step.hidden:
                parts.append(step.text.replace("<cost>", cost) * step.times)
        return "".join(parts).encode()

    def asks_usage(self, *, asked: bool) -> dict[str, Any]:
        """Return the members of the body that ask for a stream, and for its usage."""
        if self.answer is None or not self.answer.events:
            return {}
        options = {"stream_options": {"include_usage": True}}
        return {"stream": True} | (options if asked else {})

    def body(self, model: str, *, asked: bool) -> bytes:
        """Return the client's body, 24 tokens long unless the data says more."""
        if self.request.text is not None:
            return self.request.text.replace("<model>", model).encode()
        body = {"model": model, **self.asks_usage(asked=asked), **self.request.fields}
        text = msgspec.json.encode(body).decode()
        for name, size in self.request.padding.items():
            text = text.replace(f"<{name}>", "x" * size)
        return text.encode().ljust(_INPUT_BYTES)

    @property
    def choices(self) -> tuple[bool, ...]:
        """Return the ways to ask for the usage of a stream; each is a play."""
        edits = self.path in _STREAM_OPTIONS and bool(self.asks_usage(asked=True))
        return (False, True) if edits and not self.request.send else (False,)


def coded(body: bytes, coding: str) -> bytes:
    """Return a body in a content coding."""
    match coding:
        case "gzip":
            return gzip.compress(body)
        case "deflate":
            return zlib.compress(body)
    return body


@cache
def shapes() -> dict[str, Shape]:
    """Return all shapes by name."""
    found = {}
    for path in sorted(FOLDER.glob("*.toml")):
        data = tomllib.loads(path.read_text("utf-8"))
        many = data.pop("shape", None)
        for at, one in enumerate(many or [data]):
            name = path.stem if many is None else f"{path.stem}-{one.pop('name', at)}"
            try:
                found[name] = msgspec.convert(data | one if many else one, Shape)
            except msgspec.ValidationError as error:
                raise ValueError(f"{name}: {error}") from error
    return found


def model_of(name: str, *, asked: bool = False) -> str:
    """Return the short name of the model that stands for a shape."""
    return f"t{list(shapes()).index(name):03}{'u' if asked else ''}"


def of_model(model: str) -> Shape:
    """Return the shape for which a model stands."""
    return list(shapes().values())[int(model[1:4])]
