"""Requests whose bodies do not come, on real servers: they are given up, and nobody waits for them.

Row P10 of the attacks, and K1 of the traffic.
"""

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nemorouter.bench.process import resident_bytes, tree
from tests.support.api import API, get
from tests.support.servers import Answer, Host, Server, chat, read_answer, until

KINDS = ["rsgi", "granian-rsgi", "asgi", "uvicorn"]
MB = 1 << 20


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return Host(tmp_path_factory.mktemp("half"), {"body_timeout": 2.0})


@pytest.fixture(scope="module", params=KINDS)
def server(host: Host, request: pytest.FixtureRequest) -> Iterator[Server]:
    with host.serve(request.param) as running:
        until(lambda: get(running, "/login").status == 200)
        yield running


def head(path: str, length: int | None, *lines: str) -> bytes:
    """Make the head of a POST whose body has ``length`` bytes, or is chunked."""
    size = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    kind = (
        "application/json" if path.startswith(("/v1", API)) else "application/x-www-form-urlencoded"
    )
    first = (f"POST {path} HTTP/1.1", "host: 127.0.0.1", f"content-type: {kind}", size, *lines)
    return "\r\n".join(first).encode() + b"\r\n\r\n"


def send(server: Server, payload: bytes) -> socket.socket:
    """Open a connection, and send what there is of a request."""
    client = socket.create_connection(("127.0.0.1", server.port), 30)
    client.sendall(payload)
    return client


def given_up(client: socket.socket) -> Answer:
    """Read the answer to a body that did not come, and the end of the connection."""
    with client:
        answer = read_answer(client)
        assert answer.header("connection") == "close"
        assert client.recv(1) == b""
        return answer


@contextmanager
def half_sent(server: Server, many: int, payload: bytes) -> Iterator[list[socket.socket]]:
    """Hold so many unfinished requests."""
    clients: list[socket.socket] = []
    try:
        for _ in range(many):
            clients.append(send(server, payload))
        yield clients
    finally:
        for client in clients:
            client.close()


@pytest.mark.parametrize("length", [100, 150_000, None], ids=["small", "large", "chunked"])
@pytest.mark.parametrize("path", ["/login", "/v1/chat/completions"])
def test_a_body_that_does_not_come_is_a_408(
    host: Host, server: Server, path: str, length: int | None
) -> None:
    key = host.key()
    begun = time.monotonic()
    client = send(server, head(path, length, f"authorization: Bearer {key}", "accept: */*"))
    answer = given_up(client)
    assert (answer.status, answer.error["code"]) == (408, "request_timeout")
    assert 1.5 < time.monotonic() - begun < 8
    assert server.call(body=chat(), key=key).status == 200


def test_a_credential_comes_before_the_body(server: Server) -> None:
    """Read nothing for a caller that may do nothing on the management API."""
    wrong = f"authorization: Bearer mk-nemo-{'x' * 32}"
    for lines, code in (((), "missing_api_key"), ((wrong,), "invalid_api_key")):
        begun = time.monotonic()
        with send(server, head(f"{API}/keys", 1_000_000, *lines)) as client:
            answer = read_answer(client)
        assert (answer.status, answer.error["code"]) == (401, code)
        assert time.monotonic() - begun < 1.5


def test_others_are_served_and_the_stop_is_short(host: Host) -> None:
    crowd(host, 1_500, body_timeout=60.0)


@pytest.mark.campaign
def test_ten_thousand_half_sent_logins(host: Host) -> None:
    """Send 10,300 of them, then 500 bodies of nearly a megabyte; print what others waited."""
    crowd(host, 10_300, body_timeout=20.0)
    memory(host)


def crowd(host: Host, many: int, body_timeout: float) -> None:
    """Hold half-sent logins; check that others are served, and that the server stops."""
    key = host.key()
    payload = head("/login", 100) + b"email="
    with host.serve(body_timeout=body_timeout) as server, half_sent(server, many, payload):
        times = []
        for path in ("/healthz", "/readyz", None) * 5:
            begun = time.monotonic()
            answer = server.call(path) if path else server.call(body=chat(), key=key)
            assert answer.status == 200
            times.append(time.monotonic() - begun)
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        took = time.monotonic() - begun
        print(
            f"\n{many:,} half-sent logins: others within {max(times):.3f} s, SIGTERM {took:.2f} s"
        )
        assert max(times) < 5
        assert took <= 5


def memory(host: Host) -> None:
    """Send 500 bodies of nearly a megabyte; check what the server holds of them."""
    with host.serve(body_timeout=20.0) as server:
        until(lambda: get(server, "/login").status == 200)
        before = resident_bytes(tree(server.process.pid))
        payload = head("/login", None) + b"".join(
            b"8000\r\n" + b"x" * 0x8000 + b"\r\n" for _ in range(31)
        )
        with half_sent(server, 0, b"") as clients:
            for _ in range(500):
                client = socket.create_connection(("127.0.0.1", server.port), 30)
                client.settimeout(0.05)
                clients.append(client)
                try:
                    client.sendall(payload)
                except OSError:
                    continue  # refused as too large, or the server reads no more
            after = resident_bytes(tree(server.process.pid))
            print(f"500 bodies of a megabyte: {before // MB} -> {after // MB} MB")
            assert after - before < 200 * MB
