"""Test what a client may get wrong, through raw sockets against every server.

The answer is a documented one, and nothing is lost.
"""

import socket
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import pytest

from nemorouter.arena import attach
from tests.support.servers import Host, Server, chat, until

GOOD = msgspec.json.encode(chat())
DEEP = b"[" * 100_000 + b"]" * 100_000


@dataclass
class Gateway:
    """One of the servers, and a key that works there."""

    host: Host
    server: Server
    key: str
    kind: str


GATEWAY = "nemorouter.app:app"
GUARDED = "tests.support.wrapped_apps"
SERVERS = {
    "rsgi": ("rsgi", GATEWAY),
    "asgi": ("asgi", GATEWAY),
    "uvicorn": ("uvicorn", GATEWAY),
    "guarded-rsgi": ("granian-rsgi", f"{GUARDED}:rsgi_app"),
    "guarded-asgi": ("asgi", f"{GUARDED}:fastapi_app"),
}


@pytest.fixture(scope="module", params=SERVERS)
def gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    host = Host(tmp_path_factory.mktemp(request.param), {"max_body_bytes": 300_000})
    key = host.key()
    with host.serve(*SERVERS[request.param]) as server:
        yield Gateway(host, server, key, request.param)


def post(
    key: str,
    body: bytes = GOOD,
    *headers: str,
    target: str = "/v1/chat/completions",
    length: str = "",
) -> bytes:
    """Write a request in raw bytes; ``KEY`` in a header stands for the key."""
    head = [
        f"POST {target} HTTP/1.1",
        "host: t",
        "connection: close",
        "content-type: application/json",
    ]
    head += [
        f"content-length: {length or len(body)}",
        *(header.replace("KEY", key) for header in headers),
    ]
    return "\r\n".join(head).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


AUTH = "authorization: Bearer KEY"
CREDENTIALS = {
    "none": ([], "missing_api_key"),
    "empty": (["authorization:"], None),
    "scheme only": (["authorization: Bearer"], "invalid_api_key"),
    "basic": (["authorization: Basic KEY"], "invalid_api_key"),
    "bare": (["authorization: KEY"], "invalid_api_key"),
    "short": (["authorization: Bearer sk-nemo-1234567890123456789"], "invalid_api_key"),
    "long": ([AUTH + "x"], "invalid_api_key"),
    "lower prefix": (["authorization: Bearer SK-NEMO-12345678901234567890"], "invalid_api_key"),
    "non-ascii": (["authorization: Bearer sk-nemo-1234567890123456789\u00e9"], "invalid_api_key"),
    "look-alike": (["authorization: Bearer sk\u2010nemo-12345678901234567890"], "invalid_api_key"),
    "quoted": (['authorization: Bearer "KEY"'], "invalid_api_key"),
    "percent": (["authorization: Bearer sk%2Dnemo%2D12345678901234567890"], "invalid_api_key"),
    "sql": (["authorization: Bearer sk-nemo-' OR 1=1 --12345"], "invalid_api_key"),
    "two": ([AUTH, AUTH], "invalid_api_key"),
    "two, first wrong": (["authorization: Bearer x", AUTH], "invalid_api_key"),
    "list": ([AUTH + ", Bearer KEY"], "invalid_api_key"),
    "management": (
        ["authorization: Bearer mk-nemo-12345678901234567890123456789012"],
        "invalid_api_key",
    ),
    "bearer elsewhere": (["x-api-key: Bearer KEY"], "invalid_api_key"),
    "two that differ": ([AUTH, "x-api-key: sk-nemo-12345678901234567890"], "invalid_api_key"),
    "one of another kind": ([AUTH, "api-key: 0123456789abcdef"], "invalid_api_key"),
    "two of another header": (["x-api-key: KEY", "x-api-key: KEY"], "invalid_api_key"),
    "non-ascii elsewhere": ([AUTH, "x-goog-api-key: \u00e9"], "invalid_api_key"),
    "cookie": (["cookie: authorization=Bearer KEY"], "missing_api_key"),
    "60 kB": (["authorization: Bearer " + "k" * 60_000], "invalid_api_key"),
}


@pytest.mark.parametrize("name", CREDENTIALS)
def test_credentials(gateway: Gateway, name: str) -> None:
    headers, code = CREDENTIALS[name]
    answer = gateway.server.send(post(gateway.key, GOOD, *headers))
    assert answer.status == 401
    assert answer.error["code"] == code or (
        code is None and answer.error["code"].endswith("_api_key")
    )
    assert str(answer.header("www-authenticate")).startswith('Bearer realm="nemorouter"')
    assert gateway.key.encode() not in answer.body


@pytest.mark.parametrize("hidden_first", [True, False])
def test_a_second_header_that_the_server_hides(gateway: Gateway, hidden_first: bool) -> None:
    """Send a value outside ASCII, which RSGI does not show.

    No key has such a value, so the answer is a refusal, or that of the other key that is there.
    """
    hidden = "authorization: Bearer sk-nemo-1234567890123456789\u00e9"
    two = [hidden, AUTH] if hidden_first else [AUTH, hidden]
    answer = gateway.server.send(post(gateway.key, GOOD, *two))
    assert answer.status in ((401, 200) if gateway.kind.endswith("rsgi") else (401,))
    wrong = "authorization: Bearer sk-nemo-12345678901234567890"
    two = [hidden, wrong] if hidden_first else [wrong, hidden]
    assert gateway.server.send(post(gateway.key, GOOD, *two)).status == 401


@pytest.mark.parametrize("query", ["key=KEY", "api_key=KEY", "a=%73k-nemo-12345678901234567890"])
def test_key_in_the_query_is_refused_beside_a_good_header(gateway: Gateway, query: str) -> None:
    target = f"/v1/chat/completions?{query.replace('KEY', gateway.key)}"
    answer = gateway.server.send(post(gateway.key, GOOD, AUTH, target=target))
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    "header",
    [
        "authorization: bearer KEY",
        "AUTHORIZATION: BEARER   KEY",
        "authorization:Bearer KEY ",
        "x-api-key: KEY",
        "API-Key: KEY",
        "x-goog-api-key:KEY",
        "authorization: Bearer KEY\r\nx-api-key: KEY",
    ],
)
def test_accepted_spellings(gateway: Gateway, header: str) -> None:
    assert gateway.server.send(post(gateway.key, GOOD, header)).status == 200


BODIES = {
    "empty": (b"", 400, "invalid_json"),
    "half": (b'{"model":"echo"', 400, "invalid_json"),
    "trailing": (GOOD + b"x", 400, "invalid_json"),
    "bom": (b"\xef\xbb\xbf" + GOOD, 400, "invalid_json"),
    "array": (b"[]", 400, "invalid_request"),
    "null": (b"null", 400, "invalid_request"),
    "deep": (b'{"model":"echo","x":' + DEEP + b"}", 400, "invalid_json"),
    "NaN": (b'{"model":"echo","temperature":NaN}', 400, "invalid_json"),
    "bad utf-8": (b'{"model":"echo","x":"\xff\xfe"}', 400, "invalid_json"),
    "bad utf-8 model": (b'{"model":"\xff"}', 400, "invalid_json"),
    "surrogate": (b'{"model":"\\ud800"}', 400, "invalid_json"),
    "no model": (b'{"messages":[]}', 400, "missing_model"),
    "null model": (b'{"model":null}', 400, "missing_model"),
    "empty model": (b'{"model":""}', 400, "missing_model"),
    "number model": (b'{"model":5}', 400, "invalid_request"),
    "long model": (b'{"model":"%b"}' % (b"m" * 121), 400, "invalid_request"),
    "NUL in model": (b'{"model":"a\\u0000b"}', 400, "invalid_request"),
    "key as model": (b'{"model":"sk-nemo-12345678901234567890"}', 404, "model_not_found"),
    "twice": (b'{"model":"echo","messages":[],"model":"gpt-4o"}', 400, "invalid_request"),
    "twice, escaped": (
        b'{"model":"echo","messages":[],"mod\\u0065l":"gpt-4o"}',
        400,
        "invalid_request",
    ),
    "twice, null": (b'{"model":"echo","max_tokens":9,"max_tokens":null}', 400, "invalid_request"),
    "stream text": (b'{"model":"echo","stream":"true"}', 400, "invalid_request"),
    "negative": (b'{"model":"echo","max_tokens":-1}', 400, "invalid_request"),
    "huge": (b'{"model":"echo","max_tokens":99999999999999999999}', 400, "invalid_request"),
    "infinite": (b'{"model":"echo","max_tokens":1e999}', 400, "invalid_request"),
    "fraction": (b'{"model":"echo","max_tokens":1.5}', 400, "invalid_request"),
    "bool": (b'{"model":"echo","max_tokens":true}', 400, "invalid_request"),
    "no choices": (b'{"model":"echo","n":0}', 400, "invalid_request"),
    "too large": (b'{"model":"echo","x":"' + b"x" * 300_000 + b'"}', 413, "request_too_large"),
}


@pytest.fixture
def echoing(gateway: Gateway) -> Gateway:
    """With the built-in upstream: what a guarded app makes of a body is its own affair."""
    if gateway.kind.startswith("guarded"):
        pytest.skip("the app decides")
    return gateway


def test_what_echo_cannot_use(echoing: Gateway) -> None:
    answer = echoing.server.send(post(echoing.key, b'{"model":"echo","messages":"hello"}', AUTH))
    assert (answer.status, answer.json["error"]["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("name", BODIES)
def test_bodies(gateway: Gateway, name: str) -> None:
    body, status, code = BODIES[name]
    answer = gateway.server.send(post(gateway.key, body, AUTH))
    assert (answer.status, answer.json["error"]["code"]) == (status, code)


WRONG_TYPES = {
    "completions": ("prompt", "n", "best_of", "max_tokens", "stream_options.include_usage"),
    "responses": ("input", "max_output_tokens", "stream"),
    "embeddings": ("input", "dimensions"),
    "images/generations": ("prompt", "n"),
    "moderations": ("input",),
}


@pytest.mark.parametrize("path", WRONG_TYPES)
def test_wrong_types_elsewhere(echoing: Gateway, path: str) -> None:
    for field in WRONG_TYPES[path]:
        outer, _, inner = field.partition(".")
        body = msgspec.json.encode({"model": "echo", outer: {inner or "a": "wrong"}})
        answer = echoing.server.send(post(echoing.key, body, AUTH, target=f"/v1/{path}"))
        assert (answer.status, answer.json["error"]["code"]) == (400, "invalid_request"), field


def test_nested_names_are_no_duplicates(gateway: Gateway) -> None:
    tool = {
        "type": "function",
        "function": {"name": "f", "parameters": {"properties": {"model": {}, "stream": {}}}},
    }
    body = msgspec.json.encode(chat(text='say "model": "model"', tools=[tool]))
    assert gateway.server.send(post(gateway.key, body, AUTH)).status == 200


def test_a_counted_body_is_refused_as_soon_as_it_is_too_large(gateway: Gateway) -> None:
    chunk = b"2710\r\n" + b"x" * 10_000 + b"\r\n"
    head = post(gateway.key, b"", AUTH).replace(b"content-length: 0", b"transfer-encoding: chunked")
    answer = gateway.server.send(head + chunk * 31)
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")


def test_a_chunked_body_is_read(gateway: Gateway) -> None:
    head = post(gateway.key, b"", AUTH).replace(b"content-length: 0", b"transfer-encoding: chunked")
    assert gateway.server.send(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD)).status == 200


@pytest.mark.parametrize("counted", [False, True])
def test_a_body_that_breaks_off_is_never_processed(gateway: Gateway, counted: bool) -> None:
    """Send whole JSON of a longer body, then close the client's half of the connection."""
    good = GOOD.replace(b'"echo"', b'"broken-off"')
    head = post(gateway.key, b"", AUTH, length=str(len(good) + 20))
    body = good
    if counted:
        length = f"content-length: {len(good) + 20}".encode()
        head = head.replace(length, b"transfer-encoding: chunked")
        body = b"%x\r\n%b\r\n" % (len(good), good)
    with socket.create_connection(("127.0.0.1", gateway.server.port), 10) as client:
        client.sendall(head + body)
        client.shutdown(socket.SHUT_WR)
        told = b"".join(iter(lambda: client.recv(65536), b""))
    if gateway.kind != "uvicorn":  # it takes a half-closed client for gone
        assert told.startswith(b"HTTP/1.1 400 ")
        assert b'"code":"invalid_request"' in told
    time.sleep(0.2)  # one turn of the drainer
    with sqlite3.connect(gateway.host.settings.data_dir / "nemorouter.db") as connection:
        found = connection.execute("SELECT * FROM requests WHERE model = 'broken-off'")
        assert found.fetchall() == []


def test_a_length_beside_chunks_is_refused_or_ignored(gateway: Gateway) -> None:
    """A server may drop the length, as RFC 9112 allows; then the chunks count."""
    chunk = b"2710\r\n" + b"x" * 10_000 + b"\r\n"
    head = post(gateway.key, b"", AUTH, "transfer-encoding: chunked", length="10")
    answer = gateway.server.send(head + chunk * 31)
    assert (answer.status, answer.error["code"]) in [
        *((400, "invalid_request"), (413, "request_too_large")),
    ]


def test_announced_length_is_refused_before_the_body(gateway: Gateway) -> None:
    answer = gateway.server.send(post(gateway.key, b"x", AUTH, length="104857600"))
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")


MEDIA_TYPES = {
    "application/problem+json": 200,
    "application/json; charset=utf-8": 200,
    "text/json": 415,
    "multipart/form-data; boundary=x": 415,
}


@pytest.mark.parametrize("kind", MEDIA_TYPES)
def test_media_types(gateway: Gateway, kind: str) -> None:
    payload = post(gateway.key, GOOD, AUTH).replace(b"application/json", kind.encode())
    assert gateway.server.send(payload).status == MEDIA_TYPES[kind]


def test_large_header_block(gateway: Gateway) -> None:
    answer = gateway.server.send(post(gateway.key, GOOD, AUTH, "x-filler: " + "f" * 30_000))
    assert (answer.status, answer.error["code"]) == (431, "headers_too_large")


@pytest.mark.parametrize("header", ["authorization: Bearer ", "x-filler: "])
def test_a_header_of_a_mebibyte_is_refused_by_the_server_itself(
    gateway: Gateway, header: str
) -> None:
    answer = gateway.server.send(post(gateway.key, GOOD, header + "k" * (1 << 20)))
    assert answer.status == (400 if gateway.kind == "uvicorn" else 431)


def test_a_hundred_mebibytes_are_refused_long_before_their_end(gateway: Gateway) -> None:
    """The client goes on sending; nothing of it is kept, and the connection ends."""
    head = post(gateway.key, b"", AUTH, length=str(100 << 20))
    with socket.create_connection(("127.0.0.1", gateway.server.port), 10) as client:
        client.sendall(head)
        with pytest.raises(ConnectionError):
            client.sendall(b"x" * (100 << 20))
    assert gateway.server.send(post(gateway.key, GOOD, AUTH)).status == 200


def test_afterwards_it_still_works_and_lost_nothing(gateway: Gateway) -> None:
    assert gateway.server.send(post(gateway.key, GOOD, AUTH)).status == 200
    log = gateway.server.log.read_text()
    assert "Traceback" not in log
    assert gateway.key not in log
    # No reservation stays, and what was charged is in the ledger.
    arena = attach.live(gateway.host.settings)
    assert arena is not None
    until(
        lambda: gateway.host.spent() == max(arena.meters(i).committed for i in range(arena.scopes))
    )
    assert gateway.host.spent() > 0
