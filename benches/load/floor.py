"""Make the servers that decide nothing, by whose cost the cost of the others is divided.

They are bare Granian, Granian with an HTTP client, FastAPI, and the local provider.
"""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from benches.load.apps import contract_rsgi, stream_rsgi, upstream_rsgi
from benches.load.case import Case, Server
from nemorouter.bench.client import ask, request
from nemorouter.bench.servers import BODY, CHAT, granian, responds

ROOT = Path(__file__).parents[2]
FAKE_KEY = "sk-nemo-" + "a" * 20
PLAIN = "Granian RSGI"
USUAL = "Granian RSGI, usual slice"
CONTRACT = "Granian RSGI, the contract's headers"
PLAIN_ASGI = "Granian ASGI"
CHUNKS = "Granian RSGI, chunks"
CHUNKS_ASGI = "Granian ASGI, chunks"
FASTAPI = "FastAPI"
FORWARD = "Granian RSGI, pyreqwest"
_GRANIAN = version("granian")
_CONSTANT = "nemorouter.bench.constant:app"


def rsgi() -> Server:
    """Make Granian with a handler on RSGI that answers a constant."""
    return _server(PLAIN, _CONSTANT, "/unread", _check_constant)


def usual() -> Server:
    """Make the constant handler on RSGI with the time slice that Linux gives to all processes."""
    return _server(USUAL, _CONSTANT, "/unread", _check_constant, prompt=False)


def contract() -> Server:
    """Make Granian with a handler that answers constants with the gateway's headers."""
    return _server(CONTRACT, "benches.load.apps.contract_rsgi:app", "/unread", _check_contract)


def asgi() -> Server:
    """Make Granian with a handler on ASGI that answers a constant."""
    target = "benches.load.apps.constant_asgi:app"
    return _server(PLAIN_ASGI, target, "/unread", _check_constant, "asginl")


def stream() -> Server:
    """Make Granian with a handler on RSGI that sends constant chunks."""
    return _server(CHUNKS, "benches.load.apps.stream_rsgi:app", "/1", _check_chunks)


def stream_asgi() -> Server:
    """Make Granian with a handler on ASGI that sends constant chunks."""
    return _server(CHUNKS_ASGI, "benches.load.apps.stream_asgi:app", "/1", _check_chunks, "asginl")


def fastapi() -> Server:
    """Make a FastAPI app that answers a constant."""
    target = "benches.load.apps.fastapi_app:bare"
    made = _server(FASTAPI, target, "/healthz", _check_completion, "asgi")
    return made._replace(version=f"{version('fastapi')}, Granian {_GRANIAN}")


def upstream() -> Server:
    """Make the local provider."""
    target = "benches.load.apps.upstream_rsgi:app"
    return _server("local provider", target, "/healthz", _check_provider)


def forward(upstream_port: int) -> Server:
    """Make Granian with the gateway's HTTP client, in front of the local provider."""
    made = _server(FORWARD, "benches.load.apps.forward_rsgi:app", CHAT, _check_provider)
    return made._replace(
        version=f"{_GRANIAN}, pyreqwest {version('pyreqwest')}",
        env=lambda _: {"BENCH_UPSTREAM": f"http://127.0.0.1:{upstream_port}"},
    )


def _server(
    name: str,
    target: str,
    path: str,
    check: Callable[[int], None],
    interface: str = "rsgi",
    *,
    prompt: bool = True,
) -> Server:
    """Make Granian with the app ``target``, which is ready when it answers ``path``."""

    def command(port: int) -> list[str]:
        return granian(target, port, interface, prompt=prompt)

    return Server(name, _GRANIAN, command, responds(path), check, cwd=ROOT)


def _bare(name: str, server: str = PLAIN, *, status: int = 200, remark: str = "") -> Case:
    """Make a case of a constant answer; its path says whether the handler reads the body."""
    path = "/unread" if "body not read" in name else CHAT
    return Case(name, server, (request(path, BODY, FAKE_KEY),), status, remark)


_USUAL = "with the time slice of all processes, not with ours"
_HEADERS = (
    "reads the request's headers and answers with ours: "
    "what the contract costs before anything is decided"
)
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
READ_ASGI = _bare("bare Granian ASGI, body read", PLAIN_ASGI)
UNREAD_ASGI = _bare("bare Granian ASGI, body not read", PLAIN_ASGI)


def _check_constant(port: int) -> None:
    for path in ("/unread", CHAT):
        answer = ask(port, request(path, BODY, FAKE_KEY))
        assert answer.status == 200, answer
        assert answer.body.startswith(b'{"id":"chatcmpl-0"'), answer


def _check_contract(port: int) -> None:
    for path, status, body in (
        (CHAT, 200, contract_rsgi.BODY),
        ("/unread", 401, contract_rsgi.REFUSAL),
    ):
        answer = ask(port, request(path, BODY, FAKE_KEY))
        assert (answer.status, answer.body) == (status, body), answer


def _check_chunks(port: int) -> None:
    answer = ask(port, request("/50", BODY))
    assert answer.status == 200
    assert answer.body == stream_rsgi.CHUNK * 50


def _check_completion(port: int) -> None:
    answer = ask(port, request(CHAT, BODY, FAKE_KEY))
    assert answer.status == 200, answer
    assert answer.body == upstream_rsgi.BODY, answer


def _check_provider(port: int) -> None:
    _check_completion(port)
    answer = ask(port, request(CHAT, b'{"stream":true}', FAKE_KEY))
    assert answer.body == b"".join(upstream_rsgi.CHUNKS), answer
