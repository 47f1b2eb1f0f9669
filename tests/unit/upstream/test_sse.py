"""Streams passing by: the same events whatever the chunks, usage found, the usage chunk kept back
or marked.
"""

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nemorouter._core import MOST_TOKENS, Scanner, produced, read_usage
from nemorouter.upstream.base import Usage
from tests.support import stream_model as model
from tests.support.calls import Call


def event(data: object, end: bytes = b"\n\n") -> bytes:
    return b"data: " + msgspec.json.encode(data) + end


TEXT = [
    event({"choices": [{"delta": {"content": word}}], "usage": None})
    for word in ("ab", "c\u00e9", "d" * 9)
]
USAGE = event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 6}})
DONE = b"data: [DONE]\n\n"
STREAM = b": comment\n\n" + b"".join(TEXT) + USAGE + DONE


def split(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


def scan(
    stream: bytes, cuts: list[int], *, strip: bool, cost: str | None = None
) -> tuple[bytes, Scanner, list[Usage]]:
    call = Call(cost)
    scanner = Scanner(call, strip=strip)
    passed = b"".join(scanner.feed(chunk) for chunk in split(stream, cuts))
    assert call.begins == 1
    return passed + scanner.flush(), scanner, call.bills


CUTS = st.lists(st.integers(0, 10_000), max_size=30)


@given(CUTS)
def test_strip(cuts: list[int]) -> None:
    passed, scanner, bills = scan(STREAM, cuts, strip=True)
    assert passed == STREAM.replace(USAGE, b"")
    assert (scanner.usage, scanner.produced, bills) == ((5, 0, 6), 14, [])


@given(CUTS, st.sampled_from([b"\n", b"\r\n"]))
def test_mark(cuts: list[int], line: bytes) -> None:
    stream = STREAM.replace(b"\n", line)
    passed, scanner, bills = scan(stream, cuts, strip=False, cost="0.1")
    assert passed == stream.replace(b'{"choices":[],', b'{"nemo_request_cost":"0.1","choices":[],')
    assert (scanner.usage, bills) == ((5, 0, 6), [(5, 0, 6)])


TEXTS = (
    st.none()
    | st.text(max_size=9)
    | st.sampled_from(['a\n"\\\x00\x7f', 7, True, [], {"a": ["b"]}, 0.5])
)
READ = TEXTS | st.just("\ud800")  # only where a text is read, half a character is a fault
COUNTS = (
    st.integers(0, 9)
    | st.none()
    | st.sampled_from([-1, 1.5, "5", True, MOST_TOKENS, MOST_TOKENS + 1, 2**70, []])
)
DETAILS = (
    st.none()
    | st.fixed_dictionaries({}, optional={"cached_tokens": COUNTS, "x": TEXTS})
    | st.sampled_from([5])
)
FIELDS = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": COUNTS,
        "completion_tokens": COUNTS,
        "prompt_tokens_details": DETAILS,
        "input_tokens": COUNTS,
        "output_tokens": COUNTS,
        "input_tokens_details": DETAILS,
        "total_tokens": COUNTS,
    },
)
SAID = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "content": READ,
        "refusal": READ,
        "reasoning_content": READ,
        "tool_calls": TEXTS,
        "role": TEXTS,
    },
)
CHOICE = st.fixed_dictionaries(
    {}, optional={"text": READ, "delta": SAID, "message": SAID, "index": COUNTS}
)
CHOICES = st.none() | st.lists(CHOICE, max_size=3) | st.sampled_from([[1], [None], {}])
SPOKEN = st.fixed_dictionaries(
    {},
    optional={
        "id": TEXTS,
        "choices": CHOICES,
        "usage": FIELDS,
        "response": st.none() | st.fixed_dictionaries({"usage": FIELDS}) | st.sampled_from([5, {}]),
        "delta": READ,
        "output": TEXTS,
    },
)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Draw JSON of an answer or event, at times with a member twice or with one byte changed."""
    data = encode(draw(SPOKEN))
    if draw(st.integers(0, 4)) == 0:
        data = b",".join(part for part in (data[:-1], encode(draw(SPOKEN))[1:]) if part != b"{")
    if draw(st.integers(0, 4)) == 0 and data.isascii() and b"\\ud800" not in data:
        at = draw(st.integers(0, len(data) - 1))
        data = (
            data[:at]
            + draw(st.sampled_from([bytes([byte]) for byte in b'"{}[],: \n\r10nx']))
            + data[at + 1 :]
        )
    return data


def encode(data: Any) -> bytes:
    """JSON; a surrogate as the escape that no parser takes."""
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
    b"",
    b": data: {}\n",
    b"event: data:\n",
    b"data:\n",
    b"data: [DONE]\n",
    b'data: {"delta":"\xff"}\n',
    b"x\r",
    b"\n",
]
LINES = st.sampled_from(OTHER) | st.builds(
    lambda head, data: head + data + b"\n", st.sampled_from([b"data:", b"data: \t"]), answers()
)
STREAMS = st.lists(
    st.lists(LINES, max_size=3).map(lambda lines: b"".join(lines) + b"\n"), max_size=6
).map(b"".join)


@given(
    STREAMS, CUTS, st.sampled_from([b"\n", b"\r\n"]), st.booleans(), st.sampled_from([None, "0.1"])
)
@example(b'data: {"delta":"a"}\n\r\ndata: {"delta":"b"}\r\n\n', [7, 21, 22, 40], b"\n", True, None)
def test_as_the_model(
    stream: bytes, cuts: list[int], line: bytes, strip: bool, cost: str | None
) -> None:
    mine, its = Call(cost), Call(cost)
    scanner, oracle = Scanner(mine, strip=strip), model.Model(its.bill, strip=strip)
    passed, meant = b"", b""
    for chunk in split(stream.replace(b"\n", line), cuts):
        passed += scanner.feed(chunk)
        meant += oracle.feed(chunk)
        assert (scanner.usage, scanner.produced, mine.bills) == (
            oracle.usage,
            oracle.produced,
            its.bills,
        )
        assert passed == meant
    assert scanner.flush() == oracle.flush()
    assert (scanner.usage, scanner.produced, mine.bills) == (
        oracle.usage,
        oracle.produced,
        its.bills,
    )


@given(answers().filter(lambda body: b"\\ud800" not in body))
def test_whole_answers_as_the_model(body: bytes) -> None:
    assert (read_usage(body), produced(body)) == (model.read(body), model.produced(body))


@given(st.binary(max_size=300), CUTS)
def test_anything_else_passes_as_it_is(stream: bytes, cuts: list[int]) -> None:
    passed, _, _ = scan(stream, cuts, strip=False)
    assert passed == stream


def test_a_chunk_of_whole_events_is_not_copied() -> None:
    scanner = Scanner(Call(), strip=True)
    chunk = TEXT[0] + TEXT[1]
    assert scanner.feed(chunk) is chunk


def test_responses() -> None:
    usage = {"input_tokens": 7, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 2}}
    stream = b"event: response.output_text.delta\n" + event({"type": "x", "delta": "abcd"})
    stream += b"event: response.completed\n" + event(
        {"type": "response.completed", "response": {"usage": usage}}
    )
    passed, scanner, bills = scan(stream, [], strip=False)
    assert passed == stream
    assert (scanner.produced, bills) == (4, [(7, 2, 3)])


def test_usage_in_the_last_text_chunk_is_found_and_kept() -> None:
    stream = event(
        {
            "choices": [{"delta": {"content": "x"}}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 6},
        }
    )
    passed, scanner, bills = scan(stream, [], strip=True)
    assert passed == stream
    assert (scanner.usage, bills) == ((5, 0, 6), [])


@pytest.mark.parametrize("told", [-1, 1.5, "5", 2**40, True, None])
def test_absurd_usage_is_none(told: object) -> None:
    usage = {"prompt_tokens": told, "completion_tokens": 6}
    _, scanner, _ = scan(event({"choices": [], "usage": usage}), [], strip=True)
    assert scanner.usage is None
    assert read_usage(msgspec.json.encode({"usage": usage})) is None


def test_what_cannot_be_read_counts_as_text() -> None:
    for data in (
        b"{",
        b'{"delta":"\xff"}',
        b'{"choices":[{"delta":{"content":"\\ud800"}}]}',
        b"[]",
        b'{"choices":5}',
    ):
        _, scanner, _ = scan(b"data: " + data + b"\n\n", [], strip=True)
        assert scanner.produced == len(data)
        assert produced(data) == len(data) or b"delta" in data


def test_bytes_that_nobody_looks_at_may_be_no_text() -> None:
    data = b'{"id":"\xff","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":6}}'
    _, scanner, _ = scan(b"data: " + data + b"\n\n", [], strip=True)
    assert (scanner.usage, scanner.produced) == ((5, 0, 6), 0)
    assert (read_usage(data), produced(data)) == ((5, 0, 6), 0)


def test_no_depth_is_too_deep() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    for where in (b"x", b"delta", b"output"):
        data = b'{"%b":%b,"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":6}}' % (
            where,
            deep,
        )
        _, scanner, _ = scan(b"data: " + data + b"\n\n", [], strip=True)
        assert (scanner.usage, scanner.produced) == ((5, 0, 6), 0)
        assert read_usage(data) == (5, 0, 6)
        assert produced(data) == (len(deep) if where == b"output" else 0)


def test_an_event_without_end_is_not_kept_in_memory() -> None:
    scanner = Scanner(Call(), strip=True)
    piece = b"x" * (4 * 1024 * 1024)
    assert scanner.feed(b"data: " + piece) == b""
    assert scanner.feed(piece) == b"data: " + piece + piece
    assert scanner.produced == 2 * len(piece)
    assert scanner.feed(USAGE) is USAGE  # unread from here on
    assert scanner.produced == 2 * len(piece) + len(USAGE)


def test_what_the_call_raises_is_not_lost() -> None:
    class Broken(Call):
        def bill(self, usage: Usage) -> str | None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Scanner(Broken(), strip=False).feed(USAGE)


def test_chunks_that_a_library_keeps() -> None:
    class Kept:
        def to_bytes(self) -> bytes:
            return b"data: {}\n\n"

    assert Scanner(Call(), strip=False).feed(Kept()) == b"data: {}\n\n"
