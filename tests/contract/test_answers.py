"""Test what a good answer carries, headers, cost and limits, and which paths exist."""

import re

import pytest

from tests.contract.conftest import Contract
from tests.support.servers import chat
from tests.support.upstreams import usage


def test_headers_of_an_answer(contract: Contract) -> None:
    answer = contract.server.call(body=chat("gpt-4o"), key=contract.keys["good"])
    assert answer.status == 200
    assert answer.json["usage"] == usage()
    assert re.fullmatch(r"req_[0-9a-f]{32}", str(answer.header("x-nemo-request-id")))
    # 11 tokens of input at $2.50 and 7 of output at $10 a million
    assert answer.header("x-nemo-request-cost") == "0.000097500"
    assert answer.header("x-ratelimit-limit-requests") == "60"
    assert answer.header("x-ratelimit-limit-tokens") == "100000000"
    assert answer.header("x-ratelimit-remaining-requests") == "59"
    assert int(str(answer.header("x-ratelimit-remaining-tokens"))) <= 100_000_000
    for name in ("x-ratelimit-reset-requests", "x-ratelimit-reset-tokens"):
        assert re.fullmatch(r"(\d+h)?(\d+m)?(\d+(\.\d+)?s)?(\d+ms)?", str(answer.header(name)))


def test_unlimited_key_has_no_rate_headers(contract: Contract) -> None:
    answer = contract.server.call(body=chat("gpt-4o"), key=contract.keys["plain"])
    assert answer.status == 200
    assert not [name for name, _ in answer.headers if name.startswith("x-ratelimit")]


def test_unknown_price_means_no_cost(contract: Contract) -> None:
    answer = contract.server.call(body=chat("fake-ok"), key=contract.keys["plain"])
    assert answer.status == 200
    assert answer.header("x-nemo-request-cost") is None


def test_credentials_and_cookies_do_not_cross(contract: Contract) -> None:
    key = contract.keys["plain"]
    marks = (
        ("cookie", "c=1"),
        ("x-forwarded-for", "203.0.113.9"),
        ("openai-beta", "b=1"),
        ("x-api-key", key),
    )
    answer = contract.server.call("/v1/chat/completions?x=1", chat("fake-ok"), key, headers=marks)
    seen = contract.upstream.seen[-1]
    assert answer.status == 200
    assert seen.path == "/v1/chat/completions"
    assert key not in repr(seen)
    assert set(seen.headers) <= {
        "host",
        "content-type",
        "content-length",
        "accept",
        "accept-encoding",
        "user-agent",
        "openai-beta",
    }
    assert seen.headers["openai-beta"] == "b=1"
    assert seen.headers["accept-encoding"] == "identity"
    names = {name for name, _ in answer.headers}
    assert not names & {
        "set-cookie",
        "openai-organization",
        "x-upstream",
        "x-ratelimit-limit-requests",
    }
    assert answer.header("openai-version") == "2020-10-01"


def test_upstreams_own_refusal_passes_unchanged(contract: Contract) -> None:
    answer = contract.server.call(body=chat("fake-limited"), key=contract.keys["plain"])
    assert answer.status == 429
    assert answer.body == b'{"error":{"message":"slow down","type":"x","code":"y","param":null}}'
    assert answer.header("retry-after") == "7"


PATHS = [
    *(
        "/v1/chat/completions/",
        "/v1//chat/completions",
        "/v1/chat/./completions",
        "/v1/x/../chat/completions",
    ),
    *(
        "/v1/chat/completions;x",
        "/v1/chat/completions%00",
        "/v1",
        "/v1/",
        "/v1/models/",
        "/v1/models//x",
    ),
    *("/v1/models/../models", "/v1/files"),
]


@pytest.mark.parametrize(
    "path", ["//v1/chat/completions", "/V1/chat/completions", "/%2fv1/chat/completions"]
)
def test_what_only_looks_like_v1_reaches_no_model(contract: Contract, path: str) -> None:
    seen = len(contract.upstream.seen)
    assert contract.server.call(path, chat("fake-ok"), contract.keys["plain"]).status >= 400
    assert len(contract.upstream.seen) == seen


@pytest.mark.parametrize("path", PATHS)
def test_other_spellings_are_unknown(contract: Contract, path: str) -> None:
    answer = contract.server.call(path, chat("fake-ok"), contract.keys["plain"])
    assert (answer.status, answer.error["code"]) == (404, "unknown_url")
    assert str(answer.header("x-nemo-request-id")).startswith("req_")


@pytest.mark.parametrize(
    "method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "post", "BREW"]
)
def test_other_methods(contract: Contract, method: str) -> None:
    answer = contract.server.call(
        "/v1/chat/completions", None, contract.keys["plain"], method=method
    )
    assert answer.status == 405
    assert answer.header("allow") == "POST"


def test_models_are_those_the_key_may_use(contract: Contract) -> None:
    everything = contract.server.call("/v1/models", None, contract.keys["plain"]).json
    assert everything["object"] == "list"
    names = {model["id"] for model in everything["data"]}
    assert "gpt-4o" in names
    assert "echo" not in names  # priced, but no upstream serves it
    few = {
        model["id"]
        for model in contract.server.call("/v1/models", None, contract.keys["models"]).json["data"]
    }
    assert few
    assert all(name.startswith("gpt-4") for name in few)
    assert few < names


def test_one_model(contract: Contract) -> None:
    answer = contract.server.call("/v1/models/gpt-4o", None, contract.keys["models"])
    assert answer.json == {"id": "gpt-4o", "object": "model", "created": 0, "owned_by": "fake"}
    for key, model in (("models", "gpt-5"), ("plain", "nobody"), ("plain", contract.keys["good"])):
        answer = contract.server.call(f"/v1/models/{model}", None, contract.keys[key])
        assert (answer.status, answer.error["code"]) == (404, "model_not_found")
        assert contract.keys["good"] not in answer.error["message"]
    assert contract.server.call("/v1/models").status == 401


def test_health_and_metrics(contract: Contract) -> None:
    assert contract.server.call("/healthz").json == {"status": "ok"}
    assert contract.server.call("/readyz").json == {"status": "ready"}
    text = contract.server.call("/metrics").body.decode()
    for line in text.splitlines():
        assert re.fullmatch(
            r'# (HELP|TYPE) nemorouter_\w+ .+|nemorouter_\w+(\{\w+="\w+"\})? \d+(\.\d+)?', line
        )
    assert "nemorouter_workers 1" in text
    assert 'nemorouter_refused_total{code="key_unknown"}' in text
