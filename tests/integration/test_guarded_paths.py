"""Test NemoAuth below a root path, and paths in other spellings than the app's router reads.

No key, no entry; with a key, the limits of the endpoint that the app serves.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nemorouter.types import Endpoint
from tests.support.servers import Answer, Host, Server, chat
from tests.support.wrapped import APPS, Wrapped

SERVERS = {
    "uvicorn root path": ("uvicorn", "fastapi_app", ("--root-path", "/gw"), ""),
    "granian prefix": ("asgi", "fastapi_app", ("--url-path-prefix", "/gw", "--ws"), "/gw"),
    "uvicorn mount": ("uvicorn", "mounted_app", (), "/gw"),
    "granian mount": ("asgi", "mounted_app", ("--ws",), "/gw"),
}
SPELLINGS = ("/v1/%63hat/completions", "/v1/chat/completions/", "//v1/chat/completions")


class Below(Wrapped):
    """A wrapped app below a root path, and the prefix that its clients write."""

    def __init__(self, host: Host, server: Server, kind: str, prefix: str) -> None:
        super().__init__(host, server)
        self.kind = kind
        self.prefix = prefix


@pytest.fixture(scope="module", params=SERVERS)
def below(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Below]:
    kind, app, arguments, prefix = SERVERS[request.param]
    host = Host(tmp_path_factory.mktemp("below"))
    with host.serve(kind, f"{APPS}:{app}", arguments) as server:
        yield Below(host, server, kind, prefix)


def test_no_key_no_entry(below: Below) -> None:
    for path in ("/v1/chat/completions", "/v1/other", "/v1/nothing", "/%76%31/other", *SPELLINGS):
        answer = below.server.call(below.prefix + path, chat())
        assert (answer.status, answer.error["code"]) == (401, "missing_api_key"), path
    assert below.server.call(f"{below.prefix}/open").json == {"state": False}


def test_a_key_enters_and_is_recorded(below: Below) -> None:
    answer = below.server.call(f"{below.prefix}/v1/chat/completions", chat("gpt-4o"), below.key)
    below.rows += 1
    assert answer.status == 200
    row = below.host.rows(below.rows)[-1]
    assert (row["model"], row["endpoint"]) == ("gpt-4o", Endpoint.CHAT_COMPLETIONS)
    assert (row["input_tokens"], row["output_tokens"]) == (3, 4)


def test_a_socket_is_refused(below: Below) -> None:
    head = f"GET {below.prefix}/v1/live HTTP/1.1\r\nhost: t\r\nconnection: upgrade\r\n"
    head += "upgrade: websocket\r\nsec-websocket-version: 13\r\n"
    head += "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    # Without a package for sockets uvicorn takes the handshake for an ordinary request.
    assert below.server.send(head.encode()).status == (401 if below.kind == "uvicorn" else 403)


@pytest.fixture(scope="module", params=["asgi", "uvicorn"])
def wrapped(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Wrapped]:
    host = Host(tmp_path_factory.mktemp("wrapped"))
    with host.serve(request.param, f"{APPS}:fastapi_app") as server:
        yield Wrapped(host, server)


@pytest.mark.parametrize("path", ["/v1/chat/completions", *SPELLINGS])
def test_every_spelling_has_the_same_limits(wrapped: Wrapped, path: str) -> None:
    """The app redirects some of them; what counts is that none is free."""
    call = wrapped.server.call
    tight = wrapped.host.key("tight", tpm=1)
    assert call(path, chat("gpt-4o"), tight).error["code"] == "tpm_limit_exceeded"
    narrow = wrapped.host.key("narrow", allowed_endpoints=("embeddings",))
    assert call(path, chat("gpt-4o"), narrow).error["code"] == "endpoint_not_allowed"
    before = len(wrapped.host.rows(wrapped.rows))
    call(path, chat("gpt-4o"), wrapped.key)
    wrapped.rows = before + 1
    row = wrapped.host.rows(wrapped.rows)[-1]
    assert (row["model"], row["endpoint"]) == ("gpt-4o", Endpoint.CHAT_COMPLETIONS)


def test_what_is_no_call_of_the_api_has_an_endpoint_of_its_own(wrapped: Wrapped) -> None:
    call = wrapped.server.call
    narrow = wrapped.host.key("no others", allowed_endpoints=("embeddings",))
    refused = call("/v1/summaries", {"a": 1}, narrow)
    assert (refused.status, refused.error["code"]) == (403, "endpoint_not_allowed")
    others = wrapped.host.key("others", allowed_endpoints=("other",))
    assert call("/v1/summaries", {"a": 1}, others).json == {"bytes": 7}
    wrapped.rows += 1
    assert wrapped.host.rows(wrapped.rows)[-1]["endpoint"] == Endpoint.OTHER


def completion(wrapped: Wrapped, way: str, *headers: tuple[str, str]) -> Answer:
    wrapped.rows += 1
    body = {"model": "gpt-4o", "prompt": way}
    return wrapped.server.call("/v1/completions", body, wrapped.key, headers=headers)


def test_the_client_does_not_choose_its_bill_by_compression(wrapped: Wrapped) -> None:
    answer = completion(wrapped, "json", ("accept-encoding", "gzip"))
    assert answer.header("content-encoding") is None
    row = wrapped.host.rows(wrapped.rows)[-1]
    assert (row["input_tokens"], row["output_tokens"]) == (3, 4)


def test_an_event_stream_with_a_length_arrives_whole(wrapped: Wrapped) -> None:
    answer = completion(wrapped, "events")
    assert b'"nemo_request_cost"' in answer.body
    assert answer.header("cache-control") == "no-cache"
    assert answer.header("x-accel-buffering") == "no"
    row = wrapped.host.rows(wrapped.rows)[-1]
    assert (row["input_tokens"], row["output_tokens"]) == (3, 4)


def test_a_file_is_a_whole_answer(wrapped: Wrapped) -> None:
    answer = completion(wrapped, "file")
    assert answer.body == Path(*APPS.split(".")).with_suffix(".py").read_bytes()
    assert wrapped.host.rows(wrapped.rows)[-1]["outcome"] == 1


def test_what_fails_after_the_answer_is_the_apps_own(wrapped: Wrapped) -> None:
    assert completion(wrapped, "background").status == 200
    assert wrapped.host.rows(wrapped.rows)[-1]["outcome"] == 1
    log = wrapped.server.log.read_text()
    assert "failed in the background" in log
    assert "internal_error" not in log


def test_an_app_that_was_not_started_says_why_once(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with host.serve("uvicorn", f"{APPS}:fastapi_app", ("--lifespan", "off")) as server:
        for _ in range(2):
            assert server.call(body=chat()).error["code"] == "not_ready"
        assert server.log.read_text().count("nemoauth_not_started") == 1
