"""Test NemoAuth around FastAPI, Starlette and an RSGI app, on real servers."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nemorouter.types import Outcome
from tests.support.servers import Host, chat
from tests.support.wrapped import APPS, Wrapped


@pytest.fixture(scope="module", params=["asgi", "uvicorn"])
def fastapi(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Wrapped]:
    host = Host(tmp_path_factory.mktemp("fastapi"))
    with host.serve(request.param, f"{APPS}:fastapi_app") as server:
        yield Wrapped(host, server)


def test_the_app_knows_who_calls(fastapi: Wrapped) -> None:
    answer, row = fastapi.ask("gpt-4o")
    caller = answer.json["caller"]
    assert caller["key_name"] == "my key"
    assert caller["alias"] == f"sk-...{fastapi.key[-4:]}"
    assert [caller[name].partition("_")[0] for name in ("key_id", "org_id", "team_id")] == [
        "key",
        "org",
        "team",
    ]
    assert caller["user_id"] is None
    assert answer.json["authorization"] is None
    assert answer.header("x-nemo-request-id") == answer.json["request_id"]
    assert answer.header("x-nemo-request-cost") == "0.000047500"
    assert (row["outcome"], row["input_tokens"], row["output_tokens"]) == (Outcome.OK, 3, 4)


def test_reported_usage_counts(fastapi: Wrapped) -> None:
    _, row = fastapi.ask("reporting")
    assert (row["input_tokens"], row["cached_tokens"], row["output_tokens"]) == (100, 30, 20)


def test_the_apps_own_refusal_passes(fastapi: Wrapped) -> None:
    answer, row = fastapi.ask("teapot")
    assert (answer.status, answer.json) == (418, {"detail": "short and stout"})
    assert (row["outcome"], row["status"], row["input_tokens"]) == (Outcome.UPSTREAM_ERROR, 418, 0)


def test_a_broken_app_is_a_500_and_settled(fastapi: Wrapped) -> None:
    answer, row = fastapi.ask("broken")
    assert answer.status == 500
    assert "the app is broken" not in answer.body.decode()
    assert (row["outcome"], row["status"]) == (Outcome.UPSTREAM_ERROR, 500)


def test_what_is_guarded(fastapi: Wrapped) -> None:
    call = fastapi.server.call
    assert call("/open").json == {"state": False}
    for path in (
        "/v1/other",
        "/v1/nothing",
        "/v1",
        "/v1/../v1/other",
        "//v1/other",
        "/%761/other",
        "/V1/other",
    ):
        assert call(path).status == 401, path
    answer = call("/v1/other", key=fastapi.key)
    fastapi.rows += 1
    assert (answer.status, answer.json) == (200, {"ok": True, "credentials": []})
    row = fastapi.host.rows(fastapi.rows)[-1]
    assert (row["model"], row["input_tokens"], row["output_tokens"]) == ("-", 0, 0)
    assert call(body=b"{", key=fastapi.key).error["code"] == "invalid_json"


@pytest.mark.parametrize("kind", ["asgi", "uvicorn"])
def test_starlette_streams(tmp_path: Path, kind: str) -> None:
    host = Host(tmp_path)
    with host.serve(kind, f"{APPS}:starlette_app") as server:
        wrapped = Wrapped(host, server)
        answer, row = wrapped.ask("gpt-4o", stream=True)
        assert answer.body.count(b"abcd") == 5
        assert b'"nemo_request_cost":"0.000047500"' in answer.body
        assert (row["outcome"], row["input_tokens"], row["output_tokens"]) == (Outcome.OK, 3, 4)
        assert 0 <= row["ttft_us"] <= row["latency_us"]

        leave(server.port, "/v1/chat/completions", chat("slow", stream=True), wrapped.key)
        row = host.rows(2)[-1]
        assert row["outcome"] == Outcome.CLIENT_GONE
        assert 1 <= row["output_tokens"] < 200


def leave(port: int, path: str, body: dict[str, Any], key: str) -> None:
    """Read the begin of an answer, wait a little, close the connection."""
    data = msgspec.json.encode(body)
    head = f"POST {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {key}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(head.encode() + data)
        client.recv(100)
        time.sleep(0.3)


def test_rsgi(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with host.serve("granian-rsgi", f"{APPS}:rsgi_app") as server:
        wrapped = Wrapped(host, server)
        answer, row = wrapped.ask("gpt-4o")
        assert answer.json["name"] == "my key"
        assert answer.header("x-nemo-request-cost") == "0.000047500"
        assert (row["outcome"], row["output_tokens"]) == (Outcome.OK, 4)
        assert server.call("/free", {"a": 1}).json["name"] == "nobody"
        assert server.call("/v1/chat/completions", chat()).status == 401
        asked = {"model": "gpt-4o", "prompt": "a", "stream": True}
        streamed = server.call("/v1/completions", asked, wrapped.key)
        assert b'"nemo_request_cost"' in streamed.body
        assert host.rows(2)[-1]["output_tokens"] == 4

        leave(server.port, "/v1/completions", asked | {"model": "slow"}, wrapped.key)
        row = host.rows(3)[-1]
        assert row["outcome"] == Outcome.CLIENT_GONE
        assert 1 <= row["output_tokens"] < 200


def test_an_asgi_app_under_rsgi_says_what_to_do(tmp_path: Path) -> None:
    env = Host(tmp_path).settings.to_env() | {
        "PYTHONPATH": ":".join(path for path in sys.path if path)
    }
    command = [
        sys.executable,
        "-m",
        "granian",
        "--interface",
        "rsgi",
        "--port",
        "0",
        f"{APPS}:fastapi_app",
    ]
    done = subprocess.run(command, env=env, capture_output=True, timeout=30, check=False)
    assert b"--interface asgi" in done.stdout + done.stderr
