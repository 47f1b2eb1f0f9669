"""Test streams passing by: the events do not depend on the chunks, the last usage is found.

Usage chunks are kept back, and the last one is marked. Every shape of ``tests/data/traffic`` is
replayed in Rust.
"""

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nemorouter._core import MOST_TOKENS, Scanner, Usage, read_answer
from tests.support import stream_model as model
from tests.support import usage_model
from tests.support.usages import Bill, parts, told


def event(data: object, end: bytes = b"\n\n") -> bytes:
    return b"data: " + msgspec.json.encode(data) + end


TEXT = [
    event({"choices": [{"delta": {"content": word}}], "usage": None})
    for word in ("ab", "c\u00e9", "d" * 9)
]
USAGE = event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 6}})
KNOWN = usage_model.Usage(input=5, output=6)
DONE = b"data: [DONE]\n\n"
STREAM = b": comment\n\n" + b"".join(TEXT) + USAGE + DONE
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


def split(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


def scan(
    stream: bytes, cuts: list[int], *, strip: bool, cost: str | None = None
) -> tuple[bytes, Scanner, list[usage_model.Usage | None]]:
    bill = Bill(cost)
    scanner = Scanner(bill, strip=strip)
    passed = b"".join(scanner.feed(chunk) for chunk in split(stream, cuts))
    return passed + scanner.flush(), scanner, bill.asked


CUTS = st.lists(st.integers(0, 10_000), max_size=30)


@given(CUTS)
def test_strip(cuts: list[int]) -> None:
    passed, scanner, bills = scan(STREAM, cuts, strip=True)
    assert passed == STREAM.replace(USAGE, b"")
    assert (parts(scanner.usage), scanner.produced, bills) == (KNOWN, 14, [])


@given(CUTS, ENDS)
def test_mark(cuts: list[int], line: bytes) -> None:
    stream = STREAM.replace(b"\n", line)
    passed, scanner, bills = scan(stream, cuts, strip=False, cost="0.1")
    assert passed == stream.replace(b'{"choices":[],', b'{"nemo_request_cost":"0.1","choices":[],')
    assert (parts(scanner.usage), bills, scanner.done) == (KNOWN, [KNOWN], True)


TEXTS = (
    st.none()
    | st.text(max_size=9)
    | st.sampled_from(['a\n"\\\x00\x7f', 7, True, [], {"a": ["b"]}, 0.5, "\ud800"])
)
COUNTS = (
    st.integers(0, 9)
    | st.none()
    | st.sampled_from([-1, 1.5, 3.0, "5", True, MOST_TOKENS, MOST_TOKENS + 1, 2**63, []])
)


def members(*each: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Draw an object with some of these members; at times no object."""
    all_of = {name: values for some in each for name, values in some.items()}
    return (
        st.fixed_dictionaries({}, optional=all_of) | st.none() | st.sampled_from([5, "x", [], [{}]])
    )


DETAILS = members(
    {
        name: COUNTS
        for name in (
            *("cached_tokens", "cache_write_tokens", "cache_creation_input_tokens"),
            *("audio_tokens", "image_tokens", "reasoning_tokens", "x"),
            *("ephemeral_1h_input_tokens", "web_search_requests"),
        )
    }
)
FIELDS = members(
    {
        name: COUNTS
        for name in (
            *("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens"),
            *("total_tokens", "cached_tokens", "prompt_cache_hit_tokens", "num_cached_tokens"),
            *("cache_read_input_tokens", "cache_creation_input_tokens", "reasoning_tokens"),
            "num_sources_used",
        )
    },
    {
        name: DETAILS
        for name in (
            *("prompt_tokens_details", "completion_tokens_details", "input_tokens_details"),
            *("output_tokens_details", "cache_creation", "server_tool_use"),
        )
    },
    {"cost": COUNTS | st.floats(0, 1)},
)
LEAVES = {
    name: TEXTS
    for name in (
        *("content", "text", "refusal", "thinking", "reasoning", "reasoning_content"),
        *("arguments", "input", "name", "transcript", "audio", "function", "data", "role"),
    )
}
SAID = members(LEAVES) | st.recursive(
    members(LEAVES),
    lambda inner: members(
        LEAVES,
        {
            name: st.lists(inner, max_size=3) | inner
            for name in (
                *("content", "tool_calls", "reasoning_details", "summary"),
                *("function", "custom", "audio", "function_call"),
            )
        },
    ),
    max_leaves=4,
)
ERRORS = st.none() | st.sampled_from([{}, [], "", 0, False, {"code": 1}, "x", 1, True])
CHOICE = members(
    {"text": TEXTS, "delta": SAID, "message": SAID, "usage": FIELDS, "error": ERRORS, "x": COUNTS}
)
CHOICES = st.lists(CHOICE, max_size=3) | st.none() | st.sampled_from([[1], [None], {}, "x"])
TYPES = st.sampled_from(
    [
        *("error", "response.created", "response.completed", "response.failed"),
        *("message_stop", "response.output_audio.delta", "response.output_text.delta", 5),
    ]
)
SPOKEN = st.fixed_dictionaries(
    {},
    optional={
        "id": TEXTS,
        "type": TYPES,
        "choices": CHOICES,
        "usage": FIELDS,
        "response": members({"usage": FIELDS}),
        "message": members({"usage": FIELDS}),
        "delta": TEXTS | SAID,
        "output": st.lists(SAID, max_size=3),
        "content": SAID,
    },
) | st.fixed_dictionaries({"error": ERRORS}, optional={"choices": CHOICES, "type": TYPES})


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Draw JSON of an answer or event, at times with a member twice or with one byte changed."""
    data = encode(draw(SPOKEN))
    if draw(st.integers(0, 4)) == 0:
        data = b",".join(part for part in (data[:-1], encode(draw(SPOKEN))[1:]) if part != b"{")
    if draw(st.integers(0, 4)) == 0:
        at = draw(st.integers(0, len(data) - 1))
        data = (
            data[:at]
            + draw(st.sampled_from([bytes([byte]) for byte in b'"{}[],: \n\r10nx\xff']))
            + data[at + 1 :]
        )
    return data


def encode(data: Any) -> bytes:
    """JSON; a surrogate as its escape."""
    text = msgspec.json.encode(_without_surrogates(data))
    return text.replace("\ue000".encode(), b"\\ud800")


def _without_surrogates(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: _without_surrogates(value) for name, value in data.items()}
    if isinstance(data, list):
        return [_without_surrogates(value) for value in data]
    return (
        data.translate({code: 0xE000 for code in range(0xD800, 0xE000)})
        if isinstance(data, str)
        else data
    )


OTHER = [
    *(b"", b": data: {}\n", b"event: data:\n", b"data:\n", b"data\n", b"data: [DONE]\n"),
    *(b'data: {"delta":"\xff"}\n', b"x\r", b"\n", b"\r", b"event: error\n", b"event:error\n"),
    *(b'data: {"usage":{"prompt_tokens":5,\ndata: "completion_tokens":6}}\n', b"\xef\xbb\xbf"),
    *(b"event: x\n", b"retry: 5\n", b"datax: {}\n", b"data : {}\n", USAGE[:-1]),
]
LINES = st.sampled_from(OTHER) | st.builds(
    lambda head, data: head + data + b"\n", st.sampled_from([b"data:", b"data: \t"]), answers()
)
STREAMS = st.lists(
    st.lists(LINES, max_size=3).map(lambda lines: b"".join(lines) + b"\n"), max_size=6
).map(b"".join)


@given(STREAMS, CUTS, ENDS, st.booleans(), st.sampled_from([None, "0.1"]))
@example(b'data: {"delta":"a"}\n\r\ndata: {"delta":"b"}\r\n\n', [7, 21, 22, 40], b"\n", True, None)
def test_as_the_model(
    stream: bytes, cuts: list[int], line: bytes, strip: bool, cost: str | None
) -> None:
    bill = Bill(cost)
    scanner = Scanner(bill, strip=strip)
    oracle = model.Model(cost, strip=strip)
    for chunk in split(stream.replace(b"\n", line), cuts):
        assert scanner.feed(chunk) == oracle.feed(chunk)
        assert told(scanner) == oracle.told
    assert scanner.flush() == oracle.flush()
    assert told(scanner) == oracle.told
    assert bill.asked == oracle.bills


@given(answers())
def test_whole_answers_as_the_model(body: bytes) -> None:
    answer = read_answer(body)
    assert (answer and (parts(answer[0]), *answer[1:])) == model.read(body)


@given(st.binary(max_size=300), CUTS)
def test_anything_else_passes_as_it_is(stream: bytes, cuts: list[int]) -> None:
    passed, _, _ = scan(stream, cuts, strip=False)
    assert passed == stream


def test_a_chunk_of_whole_events_is_not_copied() -> None:
    scanner = Scanner(Bill(), strip=True)
    chunk = TEXT[0] + TEXT[1]
    assert scanner.feed(chunk) is chunk


@pytest.mark.parametrize("count", [-1, 1.5, 2**40, "5", True, None])
def test_a_count_that_cannot_be_is_not_told(count: object) -> None:
    usage = {"prompt_tokens": count, "completion_tokens": 6}
    _, scanner, _ = scan(event({"choices": [], "usage": usage}), [], strip=True)
    if type(count) in (int, float):
        assert scanner.usage is None
    else:
        assert parts(scanner.usage) == usage_model.Usage(output=6, doubtful=count is not None)


@pytest.mark.parametrize("data", [b"{", b"[]", b'"text"', b"<html>", b"keep-alive"])
def test_what_is_no_object_is_no_output(data: bytes) -> None:
    _, scanner, _ = scan(b"data: " + data + b"\n\n" + USAGE, [], strip=True)
    assert (parts(scanner.usage), scanner.produced) == (KNOWN, 0)
    assert read_answer(data) is None


def test_no_depth_is_too_deep() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    for where in (b"x", b"delta", b"output", b"error"):
        data = b'{"%b":%b,"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":6}}' % (
            where,
            deep,
        )
        _, scanner, _ = scan(b"data: " + data + b"\n\n", [], strip=True)
        assert (parts(scanner.usage), scanner.produced) == (KNOWN, 0)
        assert scanner.failed == (where == b"error")


@pytest.mark.parametrize("strip", [True, False])
def test_an_event_without_end_is_not_kept_in_memory(strip: bool) -> None:
    scanner = Scanner(Bill("0.1"), strip=strip)
    piece = b"x" * (4 * 1024 * 1024)
    assert scanner.feed(b"data: " + piece) == b""
    assert scanner.feed(piece) == b"data: " + piece + piece
    assert scanner.feed(piece) is piece
    assert scanner.feed(b"\n\n" + TEXT[0]) == b"\n\n" + TEXT[0]
    assert scanner.feed(USAGE + DONE) == (
        DONE if strip else USAGE.replace(b"{", b'{"nemo_request_cost":"0.1",', 1) + DONE
    )
    assert (parts(scanner.usage), scanner.produced) == (KNOWN, 2)


def test_where_the_provider_breaks_off_the_held_usage_goes_on() -> None:
    scanner = Scanner(Bill("0.1"), strip=False)
    assert scanner.feed(TEXT[0] + USAGE + b"data: {") == TEXT[0]
    assert scanner.abort() == USAGE
    assert parts(scanner.usage) == KNOWN


def test_what_the_bill_raises_is_not_lost() -> None:
    def broken(usage: Usage) -> str | None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Scanner(broken, strip=False).feed(TEXT[0] + USAGE + DONE)
