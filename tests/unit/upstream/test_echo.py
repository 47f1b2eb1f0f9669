"""The built-in upstream: true usage, no more than asked, the same answer every time."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemorouter._core import Scanner, echo_chat
from nemorouter.types import Endpoint
from nemorouter.upstream.base import Answer, Chunks, Request
from nemorouter.upstream.echo import Echo
from nemorouter.upstream.echo.chat import chat
from tests.support.usages import Bill, tokens, tokens_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


async def all_of(chunks: Chunks) -> list[bytes]:
    async with chunks as read:
        found = []
        while (chunk := await read()) is not None:
            found.append(chunk if isinstance(chunk, bytes) else chunk.to_bytes())
        return found


async def ask(endpoint: Endpoint, **fields: object) -> tuple[Answer, bytes]:
    body = msgspec.json.encode({"model": "echo", **fields})
    request = Request(endpoint, "/x", body, "req_" + "0" * 32)
    answer = await Echo().send(request)
    again = await Echo().send(request)
    if answer.chunks is None or again.chunks is None:
        assert answer.body == again.body
        return answer, body
    first = b"".join(await all_of(answer.chunks))
    assert first == b"".join(await all_of(again.chunks))
    answer.body = first
    return answer, body


@given(
    st.lists(TEXT, min_size=1, max_size=4),
    st.integers(0, 20) | st.none(),
    st.integers(1, 3),
    st.booleans(),
)
async def test_chat(texts: list[str], most: int | None, choices: int, stream: bool) -> None:
    messages = [{"role": "user", "content": text} for text in texts]
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    answer, body = await ask(
        Endpoint.CHAT_COMPLETIONS, messages=messages, max_tokens=most, n=choices, **options
    )
    usage = answer.usage
    if stream:
        seen = Scanner(Bill(), strip=False)
        assert seen.feed(answer.body) == answer.body
        usage = tokens(seen.usage)
    else:
        assert usage == tokens_of(answer.body)
    assert usage is not None
    assert usage[0] <= -(-len(body) // 4)
    assert usage[2] <= choices * (256 if most is None else most)


@given(TEXT, st.integers(0, 20), st.booleans())
async def test_responses(text: str, most: int, stream: bool) -> None:
    answer, body = await ask(Endpoint.RESPONSES, input=text, max_output_tokens=most, stream=stream)
    seen = Scanner(Bill(), strip=False)
    seen.feed(answer.body)
    usage = tokens(seen.usage) if stream else tokens_of(answer.body)
    assert usage is not None
    assert usage[0] <= -(-len(body) // 4)
    assert usage[2] == min(most, -(-len(text) // 4))


@given(
    st.lists(TEXT, max_size=3) | TEXT | st.lists(st.integers(0, 10**6), min_size=1, max_size=9),
    st.integers(0, 9),
)
async def test_completions(prompt: object, most: int) -> None:
    answer, body = await ask(Endpoint.COMPLETIONS, prompt=prompt, max_tokens=most)
    assert answer.usage == tokens_of(answer.body)
    assert answer.usage is not None
    assert answer.usage[0] <= -(-len(body) // 4)


@pytest.mark.parametrize(
    "endpoint", [Endpoint.EMBEDDINGS, Endpoint.IMAGES_GENERATIONS, Endpoint.MODERATIONS]
)
async def test_the_others(endpoint: Endpoint) -> None:
    answer, _ = await ask(endpoint, input="abcdefgh", prompt="abcdefgh")
    assert answer.status == 200
    assert answer.usage == (2, 0, 0)


async def test_what_it_cannot_use_is_a_400() -> None:
    for endpoint in Endpoint:
        if endpoint not in (Endpoint.MODELS, Endpoint.OTHER):
            answer, _ = await ask(endpoint, messages=5, input=5, prompt=5)
            assert answer.status == 400


SAID = TEXT | st.sampled_from(["", "é" * 9, 'a\n"\\\x00b\x7f/', "😀" * 5])
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "system", ""]), "content": SAID}),
    max_size=4,
)


@given(
    MESSAGES,
    st.none() | st.integers(0, 9),
    st.none() | st.integers(0, 9),
    st.sampled_from(["m", "ü\t"]),
)
def test_the_native_answer_is_the_same(
    messages: list[Any], new: int | None, old: int | None, model: str
) -> None:
    asked = {"model": model, "messages": messages, "max_completion_tokens": new, "max_tokens": old}
    body = msgspec.json.encode(asked)
    native = echo_chat(body, "0" * 32)
    if native is None:
        assert not messages
        return
    answer = chat(Request(Endpoint.CHAT_COMPLETIONS, "", body, f"req_{'0' * 32}"))
    given, _, made = answer.usage or (-1, -1, -1)
    assert native == (answer.body, given, made)


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"stream": True},
        {"messages": [{"role": "user", "content": [{"text": "a"}]}]},
        {"max_tokens": -1},
    ],
)
def test_what_is_not_plain_is_left_to_python(fields: dict[str, Any]) -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": "a"}], **fields}
    assert echo_chat(msgspec.json.encode(asked), "0" * 32) is None


@given(
    SAID, st.integers(0, 9), st.integers(1, 3), st.booleans(), st.sampled_from(["m", "\u00fc\t"])
)
async def test_a_chat_stream_chunk_by_chunk(
    text: str, most: int, choices: int, told: bool, model: str
) -> None:
    asked = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": most,
        "n": choices,
    }
    asked |= {"stream": True, "stream_options": {"include_usage": told}}
    answer = chat(
        Request(Endpoint.CHAT_COMPLETIONS, "", msgspec.json.encode(asked), f"req_{'0' * 32}")
    )
    assert answer.chunks is not None
    head = {
        "id": "chatcmpl-" + "0" * 32,
        "object": "chat.completion.chunk",
        "created": 1_704_067_200,
        "model": model,
    }

    def chunk(index: int, delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
        return head | {"choices": [choice]}

    tokens = [text[at : at + 4] for at in range(0, len(text), 4)]
    kept = tokens[:most]
    reason = "stop" if len(tokens) <= most else "length"
    meant: list[dict[str, Any]] = []
    for index in range(choices):
        meant += [chunk(index, {"role": "assistant", "content": ""})]
        meant += [chunk(index, {"content": token}) for token in kept]
        meant += [chunk(index, {}, reason)]
    if told:
        given = -(-len(text.encode()) // 4)
        made = len(kept) * choices
        usage = {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}
        meant += [head | {"choices": [], "usage": usage}]
    events = [b"data: %b\n\n" % msgspec.json.encode(data) for data in meant]
    assert await all_of(answer.chunks) == [*events, b"data: [DONE]\n\n"]
