"""Provide a connection in memory, as ``gateway.wire`` has it, and a gate with one key."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from nemorouter import _core
from nemorouter._core import Resource
from nemorouter.bodies import Bodies
from nemorouter.gateway.driver import Driver, Serve
from nemorouter.gateway.forward import Forwarder
from nemorouter.gateway.wire import Connection, HeaderList, Scope, Transport
from nemorouter.types import Kind, ModelPrice, Policy
from tests.support.rates import by_name

KEY = "sk-nemo-" + "a" * 20
PEPPER = bytes(range(32))
BODY = msgspec.json.encode(
    {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
)


class MemoryHeaders(dict[str, str]):
    """Request headers, each once."""

    def get_all(self, key: str) -> list[str]:
        return [self[key]] if key in self else []

    def items(self) -> list[tuple[str, str]]:  # type: ignore[override]  # a list, as servers give
        return list(super().items())


class Wire:
    """One request and what was answered to it."""

    def __init__(
        self,
        body: bytes = BODY,
        key: str | None = KEY,
        path: str = "/v1/chat/completions",
        **headers: str,
    ) -> None:
        self.path = path
        self.method = "POST"
        self.client = "127.0.0.1:1"
        self.query_string = ""
        self.http_version = "1.1"
        self.proto = "http"
        self.body = body
        given = {
            "content-length": str(len(body)),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        self.headers: Any = MemoryHeaders(
            given | ({"authorization": f"Bearer {key}"} if key else {})
        )
        self.status = 0
        self.answer_headers: HeaderList = []
        self.answer = b""

    async def __call__(self) -> bytes:
        return self.body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.body

    async def client_disconnect(self) -> None:
        raise NotImplementedError

    def response_bytes(self, status: int, headers: HeaderList, body: bytes) -> None:
        self.status = status
        self.answer_headers = headers
        self.answer = body

    def response_stream(self, status: int, headers: HeaderList) -> Transport:
        self.status = status
        self.answer_headers = headers
        return self

    async def send_bytes(self, data: bytes) -> None:
        self.answer += data

    @property
    def code(self) -> str:
        return str(msgspec.json.decode(self.answer)["error"]["code"])


def gate(*, clustered: bool = False, clock: _core.ManualClock | None = None, **limits: Any) -> Any:
    """Make a gate with one org, team and key; ``m`` costs a dollar a million tokens."""
    arena = _core.Arena.private(16)
    if clustered:
        arena.clustered = True
    one = _core.Gate(
        arena, _core.Journal.private(64, ["u"]), [(1, PEPPER)], clock
    )  # sets the clock
    arena.put(Policy(kind=Kind.ORG, id=1, version=1))
    arena.put(Policy(kind=Kind.TEAM, id=2, version=1, org=1))
    arena.put(key_policy(**limits))
    arena.put_price(ModelPrice(model="m", version=1, input=10**9, output=10**9))
    return one


def key_policy(version: int = 1, **limits: Any) -> Policy:
    """Make the policy of the gate's key."""
    return Policy(
        kind=Kind.KEY,
        id=3,
        version=version,
        org=1,
        team=2,
        digest=_core.hash_key(KEY, PEPPER),
        name="k",
        last4="aaaa",
        **by_name(limits),
    )


def driver(
    gate: Any,
    upstream: Any = None,
    *,
    serve: Serve | None = None,
    wake: Callable[[], None] = lambda: None,
    echo: int | None = None,
    ietf: bool = False,
) -> Driver:
    """Make a driver whose calls go to ``upstream``, or are answered by ``serve``."""
    worker = _core.Worker(
        gate,
        routes=_core.Routes([["*"]]),
        echo=echo,
        guard=None,
        trusted_proxies=[],
        max_body=1000,
        max_headers=1000,
        ietf=ietf,
    )
    serve = serve or Forwarder([upstream])
    return Driver(worker, serve, _others, max_body=1000, bodies=bodies(), wake=wake)


def bodies(timeout_s: float = 20.0, most: int = 1_000) -> Bodies:
    """Make bounds of bodies."""
    return Bodies(timeout_s=timeout_s, min_rate=1 << 14, most=most, most_bytes=1 << 20)


async def _others(resource: Resource | None, scope: Scope, connection: Connection) -> None:
    """Answer what is no model call."""
    connection.response_bytes(200, [], b"" if resource is None else resource.name.encode())
