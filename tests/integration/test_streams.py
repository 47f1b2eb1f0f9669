"""Test answers of a real provider that behaves, and of one that does not."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from nemorouter.types import Outcome
from tests.support.servers import Answer, Host, Server, chat
from tests.support.upstreams import FakeUpstream


@dataclass
class Gateway:
    """A gateway in front of the fake provider, and how many rows its log has."""

    host: Host
    server: Server
    upstream: FakeUpstream
    key: str
    rows: int = 0

    def ask(self, model: str, **fields: Any) -> tuple[Answer, dict[str, Any]]:
        """One chat request, and the one row that it leaves."""
        answer = self.server.call(body=chat(model, **fields), key=self.key)
        self.rows += 1
        return answer, self.host.rows(self.rows)[-1]


@pytest.fixture(scope="module", params=["rsgi", "asgi"])
def gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    with FakeUpstream() as upstream:
        options = {
            "upstreams": upstream.settings(),
            "upstream_first_byte_timeout": 0.5,
            "upstream_total_timeout": 2.0,
        }
        host = Host(tmp_path_factory.mktemp("streams"), {**options, "journal_slots": 16})
        key = host.key()
        with host.serve(request.param) as server:
            yield Gateway(host, server, upstream, key)


def events(answer: Answer) -> list[Any]:
    """Return the data of each event but the last, which must be ``[DONE]``."""
    data = [event.removeprefix(b"data: ") for event in answer.body.split(b"\n\n") if event]
    assert data.pop() == b"[DONE]"
    return [msgspec.json.decode(event) for event in data]


def charged(row: dict[str, Any]) -> tuple[int, int, int, int]:
    return row["outcome"], row["status"], row["input_tokens"], row["output_tokens"]


def test_answers_that_were_read_leave_their_connection_to_the_next(gateway: Gateway) -> None:
    gateway.ask("fake-ok")
    connections = gateway.upstream.connections
    for model in ("fake-ok", "fake-tells-key", "fake-ok"):
        gateway.ask(model)
    assert gateway.upstream.connections == connections


@pytest.mark.parametrize("model", ["fake-stream", "fake-stream-split"])
def test_the_usage_chunk_is_asked_for_and_kept_back(gateway: Gateway, model: str) -> None:
    answer, row = gateway.ask(model, stream=True)
    assert gateway.upstream.seen[-1].body["stream_options"] == {"include_usage": True}
    assert [event["choices"][0]["delta"]["content"] for event in events(answer)] == ["abcd"] * 5
    assert charged(row) == (Outcome.OK, 200, 11, 7)
    assert row["stream"] == 1
    assert row["ttft_us"] <= row["latency_us"]


@pytest.mark.parametrize("options", [{"include_usage": False}, {"other": 1}, None])
def test_other_stream_options_stay(gateway: Gateway, options: dict[str, Any] | None) -> None:
    answer, row = gateway.ask("fake-stream", stream=True, stream_options=options)
    assert gateway.upstream.seen[-1].body["stream_options"] == {
        **(options or {}),
        "include_usage": True,
    }
    assert len(events(answer)) == 5
    assert charged(row) == (Outcome.OK, 200, 11, 7)


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-unpriced"])
def test_who_asks_for_usage_gets_it_with_the_cost(gateway: Gateway, model: str) -> None:
    gateway.upstream.alias[model] = "stream-split"
    answer, row = gateway.ask(model, stream=True, stream_options={"include_usage": True})
    last = events(answer)[-1]
    assert last["usage"]["prompt_tokens"] == 11
    assert last.get("nemo_request_cost") == ("0.000097500" if model == "gpt-4o" else None)
    assert row["cost_nano"] == (97_500 if model == "gpt-4o" else None)


def test_a_stream_without_usage_is_charged_by_its_text(gateway: Gateway) -> None:
    _, row = gateway.ask("fake-stream-no-usage", stream=True)
    assert row["outcome"] == Outcome.OK
    assert row["output_tokens"] == 5  # 20 bytes of text
    assert row["input_tokens"] == -(
        -len(msgspec.json.encode(chat("fake-stream-no-usage", stream=True))) // 4
    )


def test_a_stream_that_breaks_off_ends_with_an_error_event(gateway: Gateway) -> None:
    answer, row = gateway.ask("fake-stream-break", stream=True)
    last = [event for event in answer.body.split(b"\n\n") if event][-1].removeprefix(b"data: ")
    assert msgspec.json.decode(last)["error"]["code"] == "upstream_failed"
    assert row["outcome"] == Outcome.UPSTREAM_ERROR
    assert row["output_tokens"] == 5  # produced tokens are charged, never refunded to zero


def test_a_stream_that_takes_too_long_is_cut(gateway: Gateway) -> None:
    answer, row = gateway.ask("fake-stream-slow", stream=True)
    last = [event for event in answer.body.split(b"\n\n") if event][-1].removeprefix(b"data: ")
    assert msgspec.json.decode(last)["error"]["code"] == "upstream_timeout"
    assert row["outcome"] == Outcome.TIMEOUT
    assert 20 <= row["output_tokens"] <= 45


@pytest.mark.parametrize("told", ["no-usage", "negative", "fraction", "huge", "text"])
def test_absurd_usage_is_estimated(gateway: Gateway, told: str) -> None:
    answer, row = gateway.ask(f"fake-{told}")
    assert answer.status == 200
    given = -(-len(msgspec.json.encode(chat(f"fake-{told}"))) // 4)
    assert charged(row) == (Outcome.OK, 200, given, 10)  # 40 bytes of text


@pytest.mark.parametrize("how", ["reset", "short", "garbage", "html", "redirect"])
def test_failures_cost_no_tokens(gateway: Gateway, how: str) -> None:
    answer, row = gateway.ask(f"fake-{how}")
    assert (answer.status, answer.error["code"]) == (502, "upstream_failed")
    assert charged(row) == (Outcome.UPSTREAM_ERROR, 502, 0, 0)


def test_a_silent_upstream_is_given_up(gateway: Gateway) -> None:
    answer, row = gateway.ask("fake-wait")
    assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
    assert charged(row) == (Outcome.TIMEOUT, 504, 0, 0)


def test_what_cannot_be_recorded_is_not_admitted(gateway: Gateway) -> None:
    """Seventeen at once on a journal of sixteen slots."""
    answers: list[Answer] = []

    def ask() -> None:
        answers.append(gateway.server.call(body=chat("fake-wait"), key=gateway.key))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [answer for answer in answers if answer.status == 503]
    assert {answer.error["code"] for answer in refused} == {"overloaded"}
    assert {answer.header("retry-after") for answer in refused} == {"1"}
    gateway.rows += len(answers) - len(refused)
    assert len(gateway.host.rows(gateway.rows)) == gateway.rows
    assert gateway.ask("fake-ok")[0].status == 200
