"""Echo's chat completions and completions: the last user message, or the prompt, comes back."""

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec

from nemorouter.upstream.base import Answer, Ready, Request
from nemorouter.upstream.echo.text import CREATED, DONE, Message, Tokens, count, cut, event, pieces

JSON = [("content-type", "application/json")]
EVENTS = [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache")]


class _StreamOptions(msgspec.Struct, gc=False):
    include_usage: bool | None = None


class _Chat(msgspec.Struct, gc=False):
    model: str
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    max_completion_tokens: Tokens = None
    max_tokens: Tokens = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None


class _Completion(msgspec.Struct, gc=False):
    model: str
    prompt: str | list[int | str | list[int]] | None = None
    max_tokens: Tokens = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None


_decode_chat = msgspec.json.Decoder(_Chat).decode
_decode_completion = msgspec.json.Decoder(_Completion).decode
_encode = msgspec.json.encode

_CHAT = (
    b'{"id":"chatcmpl-%b","object":"chat.completion","created":%d,"model":%b,"choices":[%b],'
    b'"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}'
)
_CHOICE = (
    b'{"index":%d,"message":{"role":"assistant","content":%b,"refusal":null},"logprobs":null,'
    b'"finish_reason":"%b"}'
)
_CHUNK = (
    b'data: {"id":"chatcmpl-%b","object":"chat.completion.chunk","created":%d,"model":%b,"choices":'
)


def chat(request: Request) -> Answer:
    """``/chat/completions``."""
    asked = _decode_chat(request.body)
    given = 0
    words = ""
    for message in asked.messages:
        text = message.content
        if type(text) is not str:
            text = message.text()
        given += len(text) if text.isascii() else len(text.encode())
        if message.role == "user" or not words:
            words = text
    given = -(-given // 4)
    most = asked.max_tokens if asked.max_completion_tokens is None else asked.max_completion_tokens
    words, made, short = cut(words, most)
    if asked.stream:
        return Answer(
            200,
            EVENTS,
            chunks=Ready(_stream_chat(request, asked, words, given, "length" if short else "stop")),
        )
    reason = b"length" if short else b"stop"
    said = _encode(words)
    choices = _CHOICE % (0, said, reason)
    if asked.n and asked.n > 1:
        made *= asked.n
        choices = b",".join(_CHOICE % (index, said, reason) for index in range(asked.n))
    identity = request.request_id[4:].encode()
    model = _encode(asked.model)
    body = _CHAT % (identity, CREATED, model, choices, given, made, given + made)
    return Answer(200, JSON, body, usage=(given, 0, made))


def _stream_chat(
    request: Request, asked: _Chat, words: str, given: int, reason: str
) -> Iterator[bytes]:
    head = _CHUNK % (request.request_id[4:].encode(), CREATED, _encode(asked.model))
    choices = range(asked.n or 1)
    tokens = pieces(words)
    for index in choices:
        delta = head + b'[{"index":%d,"delta":{' % index  # all of a chunk but its text is made once
        begin = delta + b'"content":'
        end = b'},"logprobs":null,"finish_reason":null}]}\n\n'
        yield delta + b'"role":"assistant","content":""' + end
        for token in tokens:
            yield begin + _encode(token) + end
        yield delta + b'},"logprobs":null,"finish_reason":"%b"}]}\n\n' % reason.encode()
    if asked.stream_options is not None and asked.stream_options.include_usage:
        yield head + b'[],"usage":%b}\n\n' % _encode(_usage(given, len(tokens) * len(choices)))
    yield DONE


def completion(request: Request) -> Answer:
    """``/completions``."""
    asked = _decode_completion(request.body)
    prompts = _prompts(asked.prompt)
    given = count("".join(prompts))
    answers = [cut(prompt, asked.max_tokens) for prompt in prompts for _ in range(asked.n or 1)]
    made = sum(tokens for _, tokens, _ in answers)
    base = {
        "id": f"cmpl-{request.request_id[4:]}",
        "object": "text_completion",
        "created": CREATED,
        "model": asked.model,
    }
    if asked.stream:
        options = asked.stream_options
        usage = _usage(given, made) if options is not None and options.include_usage else None
        return Answer(200, EVENTS, chunks=Ready(_stream_completion(base, answers, usage)))
    choices = [
        {
            "index": index,
            "text": text,
            "logprobs": None,
            "finish_reason": "length" if short else "stop",
        }
        for index, (text, _, short) in enumerate(answers)
    ]
    body = _encode(base | {"choices": choices, "usage": _usage(given, made)})
    return Answer(200, JSON, body, usage=(given, 0, made))


def _stream_completion(
    base: dict[str, Any], answers: list[tuple[str, int, bool]], usage: dict[str, int] | None
) -> Iterator[bytes]:
    for index, (text, _, short) in enumerate(answers):
        tokens = pieces(text) or [""]
        for at, token in enumerate(tokens):
            reason = None if at + 1 < len(tokens) else "length" if short else "stop"
            choice = {"index": index, "text": token, "logprobs": None, "finish_reason": reason}
            yield event(base | {"choices": [choice]})
    if usage is not None:
        yield event(base | {"choices": [], "usage": usage})
    yield DONE


def _prompts(prompt: str | list[int | str | list[int]] | None) -> list[str]:
    """Each prompt as text; token numbers are echoed as the numbers they are."""
    if not isinstance(prompt, list):
        return [prompt or ""]
    if prompt and isinstance(prompt[0], int):
        return [_text(prompt)]
    return [one if isinstance(one, str) else _text(one) for one in prompt] or [""]


def _text(tokens: object) -> str:
    """Token numbers without blanks, so that the text is no longer than the JSON it came in."""
    return _encode(tokens).decode().strip("[]") if isinstance(tokens, list) else str(tokens)


def _usage(given: int, made: int) -> dict[str, int]:
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}
