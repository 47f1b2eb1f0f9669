"""The host that a request names: once, on every server and every path. Row P22 of the attacks."""

from collections.abc import Iterator

import pytest

from tests.support.servers import Host, Server

PATHS = ["/v1/models", "/healthz", "/login", "/api/v1/me", "/v1/chat/completions"]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return Host(tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module", params=["rsgi", "granian-rsgi", "asgi", "uvicorn"])
def server(host: Host, request: pytest.FixtureRequest) -> Iterator[Server]:
    with host.serve(request.param) as running:
        yield running


def head(path: str, *lines: str, version: str = "1.1") -> bytes:
    method = "POST" if path.endswith("completions") else "GET"
    first = f"{method} {path} HTTP/{version}"
    return (
        "\r\n".join([first, *lines, "connection: close", "content-length: 0"]).encode()
        + b"\r\n\r\n"
    )


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "lines",
    [(), ("host:",), ("host: a", "host: b"), ("host: a", "host: a")],
    ids=["none", "empty", "two", "twice"],
)
def test_no_host_or_two_are_refused(server: Server, path: str, lines: tuple[str, ...]) -> None:
    answer = server.send(head(path, *lines))
    assert answer.status == 400
    assert answer.header("connection") == "close"


@pytest.mark.parametrize("path", PATHS)
def test_one_host_is_taken_and_an_old_client_needs_none(server: Server, path: str) -> None:
    assert server.send(head(path, "host: a")).status != 400
    assert server.send(head("/healthz", version="1.0")).status == 200
