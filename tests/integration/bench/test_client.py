"""The load client: latencies begin when a request was due, and no wrong answer is counted."""

from collections.abc import Callable

import pytest

from nemorouter.bench.client import Load, load, paced, percentile, request
from tests.support.bench.liar import lying

ASKED = request("/v1/chat/completions", b"{}", "sk-nemo-x")


def test_a_stall_is_charged_to_every_request_that_it_held_up() -> None:
    with lying(stall_at=20, stall_s=0.5) as port:
        found = paced(port, ASKED, 200, seconds=1.0, rate=100, connections=2)
    assert found.answers == 100
    held_up = sum(latency > 0.05 for latency in found.latencies)
    assert held_up >= 40, (
        "half a second at a hundred a second is fifty requests, not the two that were in flight"
    )
    assert percentile(found.latencies, 0.1) < 0.1


def test_what_was_never_answered_counts_as_waiting() -> None:
    with lying(mute_after=10) as port:
        found = paced(port, ASKED, 200, seconds=0.2, rate=100, connections=4)
    assert found.answers == 10
    assert len(found.latencies) == 20
    assert percentile(found.latencies, 0.9) > 1


def paced_50(port: int, payload: bytes, status: int, seconds: float) -> Load:
    return paced(port, payload, status, seconds, rate=50)


@pytest.mark.parametrize("way", [load, paced_50])
def test_an_answer_of_another_status_ends_the_run(way: Callable[..., Load]) -> None:
    with lying(429) as port, pytest.raises(AssertionError, match=r"HTTP/1\.1 200"):
        way(port, ASKED, 200, 0.2)


def test_a_closed_loop_counts_answers() -> None:
    with lying() as port:
        found = load(port, ASKED, 200, 0.2, 2)
    assert found.answers > 10
    assert found.seconds >= 0.2
