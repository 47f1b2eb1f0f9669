"""Every row of the catalogue of refusals has a case here, with its status, body and headers."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from nemorouter.errors import CATALOGUE, Code
from tests.contract.conftest import Contract
from tests.support.servers import chat

GPT = "gpt-4o"


@dataclass
class Case:
    """A request that is refused with ``code``."""

    code: Code
    key: str | None = "good"
    body: Any = None
    path: str = "/v1/chat/completions"
    method: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    message: str = ""
    answer_headers: dict[str, str] = field(default_factory=dict)


INVALID = {"www-authenticate": 'Bearer realm="nemorouter", error="invalid_token"'}
BIG = chat(GPT, "x" * 120_000)
HUGE = chat(GPT, max_tokens=100_000)

CASES = [
    Case(
        Code.MISSING_API_KEY, None, answer_headers={"www-authenticate": 'Bearer realm="nemorouter"'}
    ),
    Case(Code.KEY_MALFORMED, "sk-nemo-short", answer_headers=INVALID),
    Case(Code.KEY_UNKNOWN, "unknown", answer_headers=INVALID),
    Case(Code.KEY_REVOKED, "revoked", answer_headers=INVALID),
    Case(Code.KEY_EXPIRED, "expired", answer_headers=INVALID),
    Case(Code.KEY_WRONG_IP, "elsewhere", answer_headers=INVALID),
    Case(Code.OWNER_DISABLED, "closed", answer_headers=INVALID),
    Case(Code.ENDPOINT_NOT_ALLOWED, "endpoints"),
    Case(Code.MODEL_NOT_ALLOWED, "models", chat("fake-ok")),
    Case(Code.MODEL_PRICE_UNKNOWN, "good", chat("fake-ok")),
    Case(Code.RATE_LIMIT_EXCEEDED, "zero", answer_headers={"x-should-retry": "false"}),
    Case(Code.TPM_LIMIT_EXCEEDED, "tpm", HUGE, answer_headers={"x-should-retry": "false"}),
    Case(Code.RPD_LIMIT_EXCEEDED, "rpd", answer_headers={"x-should-retry": "false"}),
    Case(Code.TPD_LIMIT_EXCEEDED, "tpd", HUGE, answer_headers={"x-should-retry": "false"}),
    Case(
        Code.BUDGET_EXCEEDED,
        "budget",
        HUGE,
        message="Budget exceeded. Current spend: $0.00 / $0.0001 limit. "
        "Total budget of the API key; it does not reset.",
        answer_headers={"x-should-retry": "false"},
    ),
    Case(Code.INVALID_JSON, body=b"{"),
    Case(
        Code.BACKGROUND_NOT_SUPPORTED,
        body={"model": GPT, "input": "x", "background": True},
        path="/v1/responses",
    ),
    Case(Code.MISSING_MODEL, body={"messages": []}),
    Case(
        Code.INVALID_REQUEST,
        body=chat(GPT, max_tokens=-1),
        message="max_tokens: expected a whole number from 1 to 10000000.",
    ),
    Case(Code.MODEL_NOT_FOUND, body=chat("nobody-serves-this")),
    Case(Code.UNKNOWN_URL, path="/v1/nothing"),
    Case(Code.METHOD_NOT_ALLOWED, method="GET", answer_headers={"allow": "POST"}),
    Case(Code.REQUEST_TOO_LARGE, body=BIG),
    Case(Code.UNSUPPORTED_MEDIA_TYPE, headers=(("content-type", "text/plain"),)),
    Case(Code.UNSUPPORTED_MEDIA_TYPE, headers=(("content-encoding", "gzip"),)),
    Case(Code.HEADERS_TOO_LARGE, headers=(("x-big", "y" * 20_000),)),
    Case(Code.UPSTREAM_FAILED, "plain", chat("fake-reset")),
    Case(Code.UPSTREAM_TIMEOUT, "plain", chat("fake-wait")),
]
ELSEWHERE = {
    Code.REQUEST_TIMEOUT: "integration/test_half_sent.py",
    Code.OVERLOADED: "test_streams.py",
    Code.REQUEST_TIMEOUT: "test_half_sent.py",
    Code.NOT_READY: "unit/gateway/test_router.py",
    Code.INTERNAL_ERROR: "unit/gateway/test_driver.py",
    Code.LEASE_WANTED: "unit/gateway/test_leased.py",
}


def test_every_row_has_a_case() -> None:
    assert {case.code for case in CASES} | set(ELSEWHERE) == set(CATALOGUE)


def _name(case: Case) -> str:
    return "-".join([case.code.name.lower(), *(name for name, _ in case.headers)])


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_row(contract: Contract, case: Case) -> None:
    body = case.body if case.body is not None else chat(GPT)
    key = None if case.key is None else contract.keys.get(case.key, case.key)
    answer = contract.server.call(
        case.path,
        None if case.method == "GET" else body,
        key,
        method=case.method,
        headers=case.headers,
    )
    row = CATALOGUE[case.code]
    assert (answer.status, answer.error["type"], answer.error["code"]) == (
        row.status,
        row.type,
        row.code,
    )
    if case.message:
        assert answer.error["message"] == case.message
    assert answer.header("content-type") == "application/json"
    for name, value in case.answer_headers.items():
        assert answer.header(name) == value
    assert str(answer.header("x-nemo-request-id")).startswith("req_")
    assert len(str(answer.header("x-nemo-request-id"))) == 36
    assert answer.header("x-request-id") == answer.header("x-nemo-request-id")
    if row.status == 401:  # its time would tell of the key
        assert answer.header("x-nemo-latency-ms") is None
    else:
        assert float(str(answer.header("x-nemo-latency-ms"))) >= 0


def test_invalid_keys_get_the_same_bytes(contract: Contract) -> None:
    answers = []
    for name in ("unknown", "revoked", "expired", "elsewhere", "closed", "sk-nemo-", "nonsense"):
        answer = contract.server.call(body=chat(GPT), key=contract.keys.get(name, name))
        varying = ("x-nemo-request-id", "x-request-id", "date")
        answers.append(
            (
                answer.status,
                [pair for pair in answer.headers if pair[0] not in varying],
                answer.body,
            )
        )
    assert all(answer == answers[0] for answer in answers)
    assert b'"message":"Invalid API key provided."' in answers[0][2]


def test_rate_refusal_tells_when_to_come_back(contract: Contract) -> None:
    contract.server.call(body=chat("fake-ok"), key=contract.keys["rpm"])
    answer = contract.server.call(body=chat("fake-ok"), key=contract.keys["rpm"])
    assert answer.status == 429
    assert answer.error["code"] == "rate_limit_exceeded"
    seconds = int(str(answer.header("retry-after")))
    milliseconds = int(str(answer.header("retry-after-ms")))
    assert 1 <= seconds <= 60
    assert (seconds - 1) * 1000 < milliseconds <= seconds * 1000
    assert answer.header("x-ratelimit-remaining-requests") == "0"
    assert answer.header("x-should-retry") is None
