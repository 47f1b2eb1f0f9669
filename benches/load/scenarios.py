"""Define the scenarios that whole servers are measured in, and the servers that take part in each.

Names of servers and cases are keys of the measured data: an old run and a new one are compared by
them, so they stay as they are.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from benches.load import envoy, floor, litellm, tensorzero
from benches.load.case import UPSTREAM_CORE, Case, Scenario, Server, UnavailableError
from benches.load.fleet import Fleet
from benches.load.ours import Ours, spray
from nemorouter.bench.client import request
from nemorouter.bench.servers import BODY, CHAT, Keys

RSGI = "NemoRouter RSGI"
ASGI = "NemoRouter ASGI"
FASTAPI = "NemoAuth around FastAPI"
PURE = "NemoRouter, pure-Python gate"
FORWARD_RSGI = "NemoRouter RSGI, forwarding"
FORWARD_ASGI = "NemoRouter ASGI, forwarding"
ENVOY = "Envoy"
ENVOY_PROXIED = "Envoy, proxied"
TENSORZERO = "TensorZero"
LITELLM_MASTER = "LiteLLM, master key"
LITELLM_CUSTOM = "LiteLLM, custom_auth"

CHUNKS = 50
_LITELLM_AUTH = (
    "master key only: no key of a database, no limit, no budget, no log; answer mocked inside"
)
_LITELLM_LIMITS = (
    "keys through custom_auth, limits in its memory; no budget, no log; answer mocked inside"
)
_ENVOY = "no body parsed, no tokens, no money, no log, no rate headers; one constant answer"
_TENSORZERO = (
    "requests and tokens by tag; no authentication, no budget, no log; the CPU of its Redis counts"
)
_FORMS: Mapping[str, str] = {
    RSGI: "",
    ASGI: "",
    FASTAPI: "compare with FastAPI alone",
    PURE: "gate and drainer in the one worker; nothing is shared or survives a crash",
}
"""NemoRouter's servers without an upstream, and the remark on each."""


def muster(fleet: Fleet, *, rivals: bool) -> Ours:
    """Add every server to ``fleet``; return NemoRouter's.

    The local provider is started at once, since others need its port. Without ``rivals``, each
    rival is left out.
    """
    ours = Ours(fleet.folder)
    provider = floor.upstream()
    fleet.know(provider, UPSTREAM_CORE)
    up = fleet.need(provider.name)
    assert up is not None
    for server in (
        floor.rsgi(),
        floor.usual(),
        floor.contract(),
        floor.asgi(),
        floor.fastapi(),
        floor.stream(),
        floor.stream_asgi(),
        floor.forward(up.port),
        ours.rsgi(RSGI),
        ours.asgi(ASGI),
        ours.fastapi(),
        ours.pure(),
        ours.rsgi(FORWARD_RSGI, up.port),
        ours.asgi(FORWARD_ASGI, up.port),
    ):
        fleet.know(server)
    for name, make in _rivals(fleet.folder, up.port).items():
        fleet.know_rival(name, make if rivals else _left_out)
    return ours


def _rivals(folder: Path, port: int) -> dict[str, Callable[[], Server]]:
    return {
        ENVOY: lambda: envoy.envoy(folder),
        ENVOY_PROXIED: lambda: envoy.envoy(folder, port),
        TENSORZERO: lambda: tensorzero.tensorzero(folder, port),
        LITELLM_MASTER: lambda: litellm.litellm(folder, limits=False, upstream_port=port),
        LITELLM_CUSTOM: lambda: litellm.litellm(folder, limits=True),
    }


def _left_out() -> Server:
    raise UnavailableError("left out by --no-rivals")


def scenarios(keys: Mapping[str, Keys]) -> Iterator[Scenario]:
    """Yield the scenarios in the order of the report; each adds one thing to the one before.

    ``keys`` are those of NemoRouter's servers, by server.
    """
    yield Scenario(
        "unread",
        "A constant answer, the body not read",
        floor.UNREAD,
        [floor.UNREAD_USUAL, floor.UNREAD_ASGI],
    )
    yield Scenario(
        "read",
        "A constant answer, the body read",
        floor.READ,
        [floor.READ_USUAL, floor.READ_ASGI, _chat("FastAPI alone, body read", floor.FASTAPI)],
    )
    yield from _admissions(keys)
    yield from _refusals(keys)
    yield _stream(keys)
    yield _provider(keys)


def _admissions(keys: Mapping[str, Keys]) -> Iterator[Scenario]:
    """Yield the scenarios in which every request is admitted and answered without an upstream."""
    yield Scenario(
        "authenticate",
        "The key is checked (for NemoRouter: no limit and no budget; the log is always on)",
        floor.READ,
        [
            _chat(RSGI, RSGI, keys[RSGI].free),
            _chat(ASGI, ASGI, keys[ASGI].free),
            _chat("Envoy, API key", ENVOY, envoy.KEYS["free"], remark=_ENVOY),
            _chat("LiteLLM, master key", LITELLM_MASTER, litellm.MASTER, remark=_LITELLM_AUTH),
        ],
    )
    yield Scenario(
        "limits",
        "+ requests and tokens a minute, at key and team",
        floor.READ,
        [
            _chat(RSGI, RSGI, keys[RSGI].limited),
            _chat(ASGI, ASGI, keys[ASGI].limited),
            _chat(
                "Envoy, API key and local rate limit", ENVOY, envoy.KEYS["limited"], remark=_ENVOY
            ),
            _chat(
                "LiteLLM, custom_auth, RPM and TPM",
                LITELLM_CUSTOM,
                litellm.LIMITED,
                remark=_LITELLM_LIMITS,
            ),
        ],
    )
    yield Scenario(
        "everything",
        "+ budgets at key and team, and the request log: everything on",
        floor.READ,
        [
            floor.READ_USUAL,
            floor.READ_CONTRACT,
            *(
                _chat(name, name, keys[name].everything, remark=remark)
                for name, remark in _FORMS.items()
            ),
        ],
    )


def _refusals(keys: Mapping[str, Keys]) -> Iterator[Scenario]:
    """Yield the scenarios in which every request is refused."""
    litellm_none = _chat("LiteLLM, over its limit", LITELLM_CUSTOM, litellm.NONE)
    yield Scenario(
        "429",
        "A key at its limit: every answer is a 429",
        floor.READ,
        [
            *(
                _chat(name, name, keys[name].none, remark=remark, status=429)
                for name, remark in _FORMS.items()
            ),
            _chat("Envoy, over its limit", ENVOY, envoy.KEYS["none"], remark=_ENVOY, status=429),
            litellm_none._replace(remark=_LITELLM_LIMITS, status=429),
        ],
    )
    unknown = spray()
    yield Scenario(
        "401",
        "A spray of unknown keys: every answer is a 401, the body unread",
        floor.UNREAD,
        [
            floor.UNREAD_USUAL,
            floor.UNREAD_CONTRACT,
            *(Case(name, name, unknown, 401, remark) for name, remark in _FORMS.items()),
            Case("Envoy, unknown keys", ENVOY, unknown, 401, _ENVOY),
            Case("LiteLLM, unknown keys", LITELLM_CUSTOM, unknown, 401, "through custom_auth"),
        ],
    )


def _stream(keys: Mapping[str, Keys]) -> Scenario:
    """Return the scenario of a streamed answer, by the gateway itself and through a provider."""
    question = stream_body(CHUNKS)
    constant = (request(f"/{CHUNKS}", BODY),)
    made = [
        _chat(name, name, keys[name].everything, question, remark="each chunk is made by echo")
        for name in (RSGI, ASGI)
    ]
    forwarded = [
        _chat(name, name, keys[name].everything, question, remark="from the local provider")
        for name in (FORWARD_RSGI, FORWARD_ASGI)
    ]
    return Scenario(
        "stream",
        f"A streamed answer of {CHUNKS} chunks, everything on",
        Case("bare Granian RSGI, 50 chunks", floor.CHUNKS, constant),
        [
            Case("bare Granian ASGI, 50 chunks", floor.CHUNKS_ASGI, constant),
            *made,
            _chat("bare Granian RSGI and the same HTTP client", floor.FORWARD, "", question),
            *forwarded,
        ],
    )


def _provider(keys: Mapping[str, Keys]) -> Scenario:
    """Return the scenario of a whole answer from the local provider."""
    real = BODY.replace(b'"gpt-4o"', b'"real"')
    asked = (request(tensorzero.PATH, tensorzero.body("bench")),)
    return Scenario(
        "provider",
        "Through a local provider over HTTP, everything on",
        _chat("bare Granian RSGI and the same HTTP client", floor.FORWARD, ""),
        [
            _chat(FORWARD_RSGI, FORWARD_RSGI, keys[FORWARD_RSGI].everything),
            _chat(FORWARD_ASGI, FORWARD_ASGI, keys[FORWARD_ASGI].everything),
            _chat("Envoy, proxied", ENVOY_PROXIED, envoy.KEYS["limited"], remark=_ENVOY),
            Case("TensorZero and its Redis", TENSORZERO, asked, remark=_TENSORZERO),
            _chat("LiteLLM, proxied", LITELLM_MASTER, litellm.MASTER, real, remark="no limit"),
        ],
    )


def _chat(
    name: str,
    server: str,
    key: str = floor.FAKE_KEY,
    body: bytes = BODY,
    *,
    remark: str = "",
    status: int = 200,
) -> Case:
    """Make a case of one chat completion; an empty ``key`` sends no credential."""
    return Case(name, server, (request(CHAT, body, key),), status, remark)


def stream_body(chunks: int) -> bytes:
    """Build a question to which echo answers in exactly ``chunks`` chunks.

    These are the role, words of four letters, the finish and ``[DONE]``.
    """
    words = "word" * (chunks - 3)
    message = {"role": "user", "content": words}
    asked = {"model": "gpt-4o", "messages": [message], "max_tokens": chunks, "stream": True}
    return msgspec.json.encode(asked)
