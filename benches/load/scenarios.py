"""The questions that are asked of whole servers, and who answers each of them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from benches.load import envoy, floor, litellm, tensorzero
from benches.load.case import UPSTREAM_CORE, Case, Scenario, Server, UnavailableError
from benches.load.fleet import Fleet
from benches.load.ours import Ours, spray
from nemorouter.bench.client import request
from nemorouter.bench.servers import BODY, CHAT, Keys

RSGI, ASGI, FASTAPI, PURE = (
    "NemoRouter RSGI",
    "NemoRouter ASGI",
    "NemoAuth around FastAPI",
    "NemoRouter, pure-Python gate",
)
FORWARD_RSGI, FORWARD_ASGI = "NemoRouter RSGI, forwarding", "NemoRouter ASGI, forwarding"
CHUNKS = 50
_LITELLM_AUTH = (
    "master key only: no key of a database, no limit, no budget, no log; answer mocked inside"
)
_LITELLM_LIMITS = (
    "keys through custom_auth, limits in its memory; no budget, no log; answer mocked inside"
)
_ENVOY = "no body parsed, no tokens, no money, no log, no rate headers; one constant answer"
_PURE = "gate and drainer in the one worker; nothing is shared or survives a crash"
_FASTAPI = "compare with FastAPI alone"


ENVOY, ENVOY_PROXIED = "Envoy", "Envoy, proxied"
TENSORZERO = "TensorZero"
LITELLM_MASTER, LITELLM_CUSTOM = "LiteLLM, master key", "LiteLLM, custom_auth"


def muster(fleet: Fleet, *, rivals: bool) -> Ours:
    """Make every server known; only the local provider is started, since others need its port."""
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
    ):
        fleet.know(server)
    for server in (ours.rsgi(RSGI), ours.asgi(ASGI), ours.fastapi(), ours.pure()):
        fleet.know(server)
    fleet.know(ours.rsgi(FORWARD_RSGI, up.port))
    fleet.know(ours.asgi(FORWARD_ASGI, up.port))
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


def scenarios(keys: dict[str, Keys]) -> Iterator[Scenario]:
    """In the order of the report; each adds one thing to the one before."""
    yield Scenario(
        "unread",
        "A constant answer, the body not read",
        floor.UNREAD,
        [floor.UNREAD_USUAL, floor.UNREAD_ASGI],
    )
    others = [floor.READ_USUAL, floor.READ_ASGI, _fastapi()]
    yield Scenario("read", "A constant answer, the body read", floor.READ, others)
    yield Scenario(
        "authenticate",
        "The key is checked (for NemoRouter: no limit and no budget; the log is always on)",
        floor.READ,
        [
            *_ours(keys, lambda k: k.free, all_of_them=False),
            Case(
                "Envoy, API key", ENVOY, (request(CHAT, BODY, envoy.KEYS["free"]),), remark=_ENVOY
            ),
            Case(
                "LiteLLM, master key",
                LITELLM_MASTER,
                (request(CHAT, BODY, litellm.MASTER),),
                remark=_LITELLM_AUTH,
            ),
        ],
    )
    limited = Case(
        "Envoy, API key and local rate limit",
        ENVOY,
        (request(CHAT, BODY, envoy.KEYS["limited"]),),
        remark=_ENVOY,
    )
    yield Scenario(
        "limits",
        "+ requests and tokens a minute, at key and team",
        floor.READ,
        [
            *_ours(keys, lambda k: k.limited, all_of_them=False),
            limited,
            Case(
                "LiteLLM, custom_auth, RPM and TPM",
                LITELLM_CUSTOM,
                (request(CHAT, BODY, litellm.LIMITED),),
                remark=_LITELLM_LIMITS,
            ),
        ],
    )
    yield Scenario(
        "everything",
        "+ budgets at key and team, and the request log: everything on",
        floor.READ,
        [floor.READ_USUAL, floor.READ_CONTRACT, *_ours(keys, lambda k: k.everything)],
    )
    yield from _refusals(keys)
    yield from _answers(keys)


def _refusals(keys: dict[str, Keys]) -> Iterator[Scenario]:
    yield Scenario(
        "429",
        "A key at its limit: every answer is a 429",
        floor.READ,
        [
            *_ours(keys, lambda k: k.none, status=429),
            Case(
                "Envoy, over its limit",
                ENVOY,
                (request(CHAT, BODY, envoy.KEYS["none"]),),
                429,
                _ENVOY,
            ),
            Case(
                "LiteLLM, over its limit",
                LITELLM_CUSTOM,
                (request(CHAT, BODY, litellm.NONE),),
                429,
                _LITELLM_LIMITS,
            ),
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
            *(Case(name, name, unknown, 401, remark) for name, remark in _forms()),
            Case("Envoy, unknown keys", "Envoy", unknown, 401, _ENVOY),
            Case("LiteLLM, unknown keys", LITELLM_CUSTOM, unknown, 401, "through custom_auth"),
        ],
    )


def _answers(keys: dict[str, Keys]) -> Iterator[Scenario]:
    base = Case(
        "bare Granian RSGI, 50 chunks", "Granian RSGI, chunks", (request(f"/{CHUNKS}", BODY),)
    )
    question = stream_body(CHUNKS)
    yield Scenario(
        "stream",
        f"A streamed answer of {CHUNKS} chunks, everything on",
        base,
        [
            Case(
                "bare Granian ASGI, 50 chunks",
                "Granian ASGI, chunks",
                (request(f"/{CHUNKS}", BODY),),
            ),
            *(
                Case(
                    name,
                    name,
                    (request(CHAT, question, keys[name].everything),),
                    remark="each chunk is made by echo",
                )
                for name in (RSGI, ASGI)
                if name in keys
            ),
            Case(
                "bare Granian RSGI and the same HTTP client",
                "Granian RSGI, pyreqwest",
                (request(CHAT, question),),
            ),
            *(
                Case(
                    name,
                    name,
                    (request(CHAT, question, keys[name].everything),),
                    remark="from the local provider",
                )
                for name in (FORWARD_RSGI, FORWARD_ASGI)
                if name in keys
            ),
        ],
    )
    real = BODY.replace(b'"gpt-4o"', b'"real"')
    yield Scenario(
        "provider",
        "Through a local provider over HTTP, everything on",
        Case(
            "bare Granian RSGI and the same HTTP client",
            "Granian RSGI, pyreqwest",
            (request(CHAT, BODY),),
        ),
        [
            *(
                Case(name, name, (request(CHAT, BODY, keys[name].everything),))
                for name in (FORWARD_RSGI, FORWARD_ASGI)
                if name in keys
            ),
            Case(
                "Envoy, proxied",
                ENVOY_PROXIED,
                (request(CHAT, BODY, envoy.KEYS["limited"]),),
                remark=_ENVOY,
            ),
            Case(
                "TensorZero and its Redis",
                TENSORZERO,
                (request(tensorzero.PATH, tensorzero.body("bench")),),
                remark="requests and tokens by tag; no authentication, no budget, no log; Redis' time counts",
            ),
            Case(
                "LiteLLM, proxied",
                LITELLM_MASTER,
                (request(CHAT, real, litellm.MASTER),),
                remark="no limit",
            ),
        ],
    )


def stream_body(chunks: int) -> bytes:
    """A question whose echoed answer has that many chunks: role, words of four letters, finish,
    [DONE].
    """
    words = "word" * (chunks - 3)
    message = {"role": "user", "content": words}
    asked = {"model": "gpt-4o", "messages": [message], "max_tokens": chunks, "stream": True}
    return msgspec.json.encode(asked)


def _fastapi() -> Case:
    return Case("FastAPI alone, body read", "FastAPI", (request(CHAT, BODY, floor.FAKE_KEY),))


def _forms(*, all_of_them: bool = True) -> list[tuple[str, str]]:
    both = [(RSGI, ""), (ASGI, "")]
    return [*both, (FASTAPI, _FASTAPI), (PURE, _PURE)] if all_of_them else both


def _ours(
    keys: dict[str, Keys],
    key: Callable[[Keys], str],
    status: int = 200,
    *,
    all_of_them: bool = True,
) -> list[Case]:
    return [
        Case(name, name, (request(CHAT, BODY, key(keys[name])),), status, remark)
        for name, remark in _forms(all_of_them=all_of_them)
        if name in keys
    ]
