"""Streams passing by: the same events whatever the chunks, usage found, the usage chunk kept back or marked."""

from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from nemorouter.upstream import sse
from nemorouter.upstream.sse import Scanner
from nemorouter.upstream.usage import Usage


def event(data: object, end: bytes = b"\n\n") -> bytes:
    return b"data: " + msgspec.json.encode(data) + end


TEXT = [event({"choices": [{"delta": {"content": word}}], "usage": None}) for word in ("ab", "c\u00e9", "d" * 9)]
USAGE = event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 6}})
DONE = b"data: [DONE]\n\n"
STREAM = b": comment\n\n" + b"".join(TEXT) + USAGE + DONE


def scan(stream: bytes, cuts: list[int], *, strip: bool, cost: str | None = None) -> tuple[bytes, Scanner, list[Usage]]:
    seen: list[Usage] = []

    def final(usage: Usage) -> str | None:
        seen.append(usage)
        return cost

    scanner = Scanner(final, strip=strip)
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    passed = b"".join(scanner.feed(stream[a:b]) for a, b in pairwise(edges))
    return passed + scanner.flush(), scanner, seen


CUTS = st.lists(st.integers(0, 10_000), max_size=30)


@given(CUTS)
def test_strip(cuts: list[int]) -> None:
    passed, scanner, seen = scan(STREAM, cuts, strip=True)
    assert passed == STREAM.replace(USAGE, b"")
    assert (scanner.usage, scanner.produced, seen) == ((5, 0, 6), 14, [])


@given(CUTS, st.sampled_from([b"\n", b"\r\n"]))
def test_mark(cuts: list[int], line: bytes) -> None:
    stream = STREAM.replace(b"\n", line)
    passed, scanner, seen = scan(stream, cuts, strip=False, cost="0.1")
    assert passed == stream.replace(b'{"choices":[],', b'{"nemo_request_cost":"0.1","choices":[],')
    assert (scanner.usage, seen) == ((5, 0, 6), [(5, 0, 6)])


@given(st.binary(max_size=300), CUTS)
def test_anything_else_passes_as_it_is(stream: bytes, cuts: list[int]) -> None:
    passed, _, _ = scan(stream, cuts, strip=False)
    assert passed == stream


def test_responses() -> None:
    usage = {"input_tokens": 7, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 2}}
    stream = b"event: response.output_text.delta\n" + event({"type": "x", "delta": "abcd"})
    stream += b"event: response.completed\n" + event({"type": "response.completed", "response": {"usage": usage}})
    passed, scanner, seen = scan(stream, [], strip=False)
    assert passed == stream
    assert (scanner.produced, seen) == (4, [(7, 2, 3)])


def test_usage_in_the_last_text_chunk_is_found_and_kept() -> None:
    stream = event({"choices": [{"delta": {"content": "x"}}], "usage": {"prompt_tokens": 5, "completion_tokens": 6}})
    passed, scanner, seen = scan(stream, [], strip=True)
    assert passed == stream
    assert (scanner.usage, seen) == ((5, 0, 6), [])


def test_absurd_usage_is_none() -> None:
    for told in (-1, 1.5, "5", 2**40, True, None):
        _, scanner, _ = scan(
            event({"choices": [], "usage": {"prompt_tokens": told, "completion_tokens": 6}}), [], strip=True
        )
        assert scanner.usage is None, told


def test_an_event_without_end_is_not_kept_in_memory() -> None:
    scanner = Scanner(lambda _: None, strip=True)
    piece = b"x" * (sse.LONGEST // 2)
    assert scanner.feed(b"data: " + piece) == b""
    assert scanner.feed(piece) == b"data: " + piece + piece
    assert scanner.feed(USAGE) == USAGE  # unread from here on
