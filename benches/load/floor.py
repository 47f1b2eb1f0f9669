"""Servers that decide nothing: bare Granian, and Granian with an HTTP client or FastAPI. The
denominators.
"""

from importlib.metadata import version
from pathlib import Path

from benches.load.apps import contract_rsgi, stream_rsgi, upstream_rsgi
from benches.load.case import Case, Server
from nemorouter.bench.client import ask, request
from nemorouter.bench.servers import BODY, CHAT, granian, responds

ROOT = Path(__file__).parents[2]
FAKE_KEY = "sk-nemo-" + "a" * 20
_GRANIAN = version("granian")
_ready = responds("/unread")


def rsgi() -> Server:
    """A constant on RSGI."""
    return Server(
        "Granian RSGI",
        _GRANIAN,
        lambda p: granian("nemorouter.bench.constant:app", p),
        _ready,
        _constant,
    )


def usual() -> Server:
    """The same with the time slice that Linux gives to everybody."""
    command = lambda p: granian("nemorouter.bench.constant:app", p, prompt=False)  # noqa: E731 - as the others
    return Server(USUAL, _GRANIAN, command, _ready, _constant)


def contract() -> Server:
    """Constants on RSGI, of the gateway's shape."""
    target = "benches.load.apps.contract_rsgi:app"
    return Server(
        CONTRACT, _GRANIAN, lambda p: granian(target, p), responds("/unread"), _contract, cwd=ROOT
    )


def asgi() -> Server:
    """A constant on ASGI."""
    target = "benches.load.apps.constant_asgi:app"
    return Server(
        "Granian ASGI",
        _GRANIAN,
        lambda p: granian(target, p, "asginl"),
        _ready,
        _constant,
        cwd=ROOT,
    )


def stream() -> Server:
    """Constant chunks on RSGI."""
    target = "benches.load.apps.stream_rsgi:app"
    return Server(
        "Granian RSGI, chunks",
        _GRANIAN,
        lambda p: granian(target, p),
        responds("/1"),
        _chunks,
        cwd=ROOT,
    )


def stream_asgi() -> Server:
    """Constant chunks on ASGI."""
    target, name = "benches.load.apps.stream_asgi:app", "Granian ASGI, chunks"
    return Server(
        name, _GRANIAN, lambda p: granian(target, p, "asginl"), responds("/1"), _chunks, cwd=ROOT
    )


def fastapi() -> Server:
    """A constant through FastAPI."""
    target = "benches.load.apps.fastapi_app:bare"
    name = f"{version('fastapi')}, Granian {_GRANIAN}"
    return Server(
        "FastAPI", name, lambda p: granian(target, p, "asgi"), responds(), _completion, cwd=ROOT
    )


def upstream() -> Server:
    """The local provider."""
    target = "benches.load.apps.upstream_rsgi:app"
    return Server(
        "local provider", _GRANIAN, lambda p: granian(target, p), responds(), _provider, cwd=ROOT
    )


def forward(upstream_port: int) -> Server:
    """Granian with the gateway's HTTP client, in front of the local provider."""
    return Server(
        "Granian RSGI, pyreqwest",
        f"{_GRANIAN}, pyreqwest {version('pyreqwest')}",
        lambda p: granian("benches.load.apps.forward_rsgi:app", p),
        responds(CHAT),
        _provider,
        env=lambda _: {"BENCH_UPSTREAM": f"http://127.0.0.1:{upstream_port}"},
        cwd=ROOT,
    )


def _bare(name: str, server: str = "Granian RSGI", *, status: int = 200, remark: str = "") -> Case:
    """A constant answer; to ``/unread`` where the name says that the body is not read."""
    path = "/unread" if "body not read" in name else CHAT
    return Case(name, server, (request(path, BODY, FAKE_KEY),), status, remark)


_USUAL = "with the time slice of all processes, not with ours"
_HEADERS = "looks at the request's headers and answers with ours: what the contract costs before anything is decided"
CONTRACT = "Granian RSGI, the contract's headers"
USUAL = "Granian RSGI, usual slice"
READ = _bare("bare Granian RSGI, body read")
UNREAD = _bare("bare Granian RSGI, body not read")
READ_USUAL = _bare("bare Granian RSGI, body read, usual slice", USUAL, remark=_USUAL)
UNREAD_USUAL = _bare("bare Granian RSGI, body not read, usual slice", USUAL, remark=_USUAL)
READ_CONTRACT = _bare(
    "bare Granian RSGI, body read, the contract's headers", CONTRACT, remark=_HEADERS
)
UNREAD_CONTRACT = _bare(
    "bare Granian RSGI, body not read, the contract's headers",
    CONTRACT,
    status=401,
    remark=_HEADERS,
)
READ_ASGI = _bare("bare Granian ASGI, body read", "Granian ASGI")
UNREAD_ASGI = _bare("bare Granian ASGI, body not read", "Granian ASGI")


def _constant(port: int) -> None:
    for path in ("/unread", CHAT):
        answer = ask(port, request(path, BODY, FAKE_KEY))
        assert answer.status == 200, answer
        assert answer.body.startswith(b'{"id":"chatcmpl-0"'), answer


def _contract(port: int) -> None:
    for path, status, body in (
        (CHAT, 200, contract_rsgi.BODY),
        ("/unread", 401, contract_rsgi.REFUSAL),
    ):
        answer = ask(port, request(path, BODY, FAKE_KEY))
        assert (answer.status, answer.body) == (status, body), answer


def _chunks(port: int) -> None:
    answer = ask(port, request("/50", BODY))
    assert answer.status == 200
    assert answer.body == stream_rsgi.CHUNK * 50


def _completion(port: int) -> None:
    answer = ask(port, request(CHAT, BODY, FAKE_KEY))
    assert answer.status == 200, answer
    assert answer.body == upstream_rsgi.BODY, answer


def _provider(port: int) -> None:
    _completion(port)
    answer = ask(port, request(CHAT, b'{"stream":true}', FAKE_KEY))
    assert answer.body == b"".join(upstream_rsgi.CHUNKS), answer
