"""Test that the limiter reads a body as any parser does, and refuses what is ambiguous."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemorouter import _core
from nemorouter._core import Peek
from nemorouter.errors import Code
from nemorouter.types import Endpoint

CHAT = Endpoint.CHAT_COMPLETIONS
COMPLETIONS = Endpoint.COMPLETIONS
RESPONSES = Endpoint.RESPONSES


class RejectedError(Exception):
    """A body cannot be used."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def peek(body: bytes, endpoint: int) -> Peek:
    seen = _core.peek(body, endpoint)
    if isinstance(seen, tuple):
        raise RejectedError(seen[0])
    return seen


def read(endpoint: Endpoint = CHAT, **fields: Any) -> tuple[str, int | None, int]:
    """Return the model, tokens of output and choices."""
    seen = peek(msgspec.json.encode({"model": "m", **fields}), endpoint)
    return seen.model, seen.output, seen.choices


@pytest.mark.parametrize(
    ("endpoint", "fields", "output", "choices"),
    [
        (CHAT, {}, None, 1),
        (CHAT, {"max_tokens": 5}, 5, 1),
        (CHAT, {"max_completion_tokens": 7, "n": 3}, 7, 3),
        (CHAT, {"max_completion_tokens": 7, "max_tokens": 9}, 9, 1),
        (CHAT, {"max_completion_tokens": None, "max_tokens": 1, "n": None}, 1, 1),
        (COMPLETIONS, {"prompt": "a", "max_tokens": 5, "n": 2, "best_of": 4}, 5, 4),
        (COMPLETIONS, {"prompt": ["a", "b"], "n": 2}, None, 4),
        (COMPLETIONS, {"prompt": [1, 2, 3]}, None, 1),
        (COMPLETIONS, {"prompt": [[1, 2], [3]]}, None, 2),
        (COMPLETIONS, {"prompt": []}, None, 1),
        (RESPONSES, {"max_output_tokens": 5, "max_tokens": 9}, 5, 1),
        (Endpoint.EMBEDDINGS, {"max_tokens": "not looked at"}, None, 1),
        (Endpoint.IMAGES_GENERATIONS, {"n": 4}, None, 4),
    ],
)
def test_limits(endpoint: Endpoint, fields: dict[str, Any], output: int, choices: int) -> None:
    assert read(endpoint, **fields) == ("m", output, choices)


def test_too_many_prompts() -> None:
    with pytest.raises(RejectedError) as refused:
        read(COMPLETIONS, prompt=["a"] * 2049)
    assert refused.value.code == Code.INVALID_REQUEST


NAMES = [
    "model",
    "max_tokens",
    "n",
    "stream",
    "x",
    "mod\\u0065l",
    "\\u006d\\u0061\\u0078_tokens",
    "messages",
]
MEMBERS = st.lists(
    st.tuples(
        st.sampled_from(NAMES), st.sampled_from(['"a"', "1", "true", "null", '{"model":"b"}'])
    )
)


@given(MEMBERS)
def test_no_two_readings(members: list[tuple[str, str]]) -> None:
    """First-wins and last-wins parsers agree on whatever is let through."""
    body = ("{" + ",".join(f'"{name}":{value}' for name, value in members) + "}").encode()
    try:
        seen = peek(body, CHAT)
    except RejectedError:
        return
    pairs = json.loads(body, object_pairs_hook=lambda pairs: pairs)
    told = {name: value for name, value in pairs if value is not None}
    for field in ("model", "max_tokens", "n", "stream"):
        assert sum(name == field for name, _ in pairs) <= 1
    assert seen.model == told["model"]
    assert seen.output == told.get("max_tokens")
    assert seen.choices == told.get("n", 1)
    assert seen.stream is told.get("stream", False)


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
JSON = st.recursive(
    LEAVES | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
)


@given(
    st.dictionaries(st.text(min_size=1).filter(lambda name: name not in NAMES), JSON, max_size=3),
    st.booleans(),
)
def test_whatever_stands_beside_is_passed_over(others: dict[str, Any], escaped: bool) -> None:
    others = {name: value for name, value in others.items() if name != "stream_options"}
    body = json.dumps(others | {"model": "m", "max_tokens": 3}, ensure_ascii=escaped)
    seen = peek(body.encode(), CHAT)
    assert (seen.model, seen.output) == ("m", 3)


@given(
    st.dictionaries(st.sampled_from(["temperature", "user", "max_tokens"]), st.integers(1, 9)),
    st.none()
    | st.dictionaries(st.sampled_from(["include_usage", "other"]), st.booleans())
    | st.just("absent"),
    st.sampled_from(["", " ", "\n"]),
)
def test_with_usage_changes_nothing_else(fields: dict[str, int], options: Any, blank: str) -> None:
    given: dict[str, Any] = {"model": "m", "stream": True, **fields}
    if options != "absent":
        given["stream_options"] = options
    wanted = dict(options) if isinstance(options, dict) else {}
    given_body = (blank + json.dumps(given)).encode()
    body = peek(given_body, CHAT).with_usage(given_body)
    if wanted.get("include_usage"):
        assert body is None
        return
    assert body is not None
    assert json.loads(body, object_pairs_hook=_once) == given | {
        "stream_options": wanted | {"include_usage": True}
    }


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)
