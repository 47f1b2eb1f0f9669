"""Echo's responses: the last input text comes back, whole or as the events of OpenAI's stream."""

from collections.abc import Iterator
from typing import Any

import msgspec

from nemorouter.upstream.base import Answer, Ready, Request
from nemorouter.upstream.echo.chat import EVENTS, JSON
from nemorouter.upstream.echo.text import CREATED, Message, Tokens, count, cut, pieces


class _Asked(msgspec.Struct, gc=False):
    model: str
    input: str | list[Message]
    instructions: str | None = None
    max_output_tokens: Tokens = None
    stream: bool | None = None


_decode = msgspec.json.Decoder(_Asked).decode


def response(request: Request) -> Answer:
    """``/responses``."""
    asked = _decode(request.body)
    texts = (
        [asked.input]
        if isinstance(asked.input, str)
        else [message.text() for message in asked.input]
    )
    given = count("".join(texts) + (asked.instructions or ""))
    words, made, short = cut(texts[-1] if texts else "", asked.max_output_tokens)
    identity = request.request_id[4:]
    item = {
        "type": "message",
        "id": f"msg_{identity}",
        "status": "incomplete" if short else "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": words, "annotations": []}],
    }
    whole = {
        "id": f"resp_{identity}",
        "object": "response",
        "created_at": CREATED,
        "status": "incomplete" if short else "completed",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if short else None,
        "instructions": asked.instructions,
        "max_output_tokens": asked.max_output_tokens,
        "metadata": {},
        "model": asked.model,
        "output": [item],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": {
            "input_tokens": given,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": made,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": given + made,
        },
    }
    if asked.stream:
        return Answer(200, EVENTS, chunks=Ready(_stream(whole, item, words)))
    return Answer(200, JSON, msgspec.json.encode(whole), usage=(given, 0, made))


def _stream(whole: dict[str, Any], item: dict[str, Any], words: str) -> Iterator[bytes]:
    for number, (kind, fields) in enumerate(_events(whole, item, words)):
        data = msgspec.json.encode({"type": kind, "sequence_number": number} | fields)
        yield b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


def _events(
    whole: dict[str, Any], item: dict[str, Any], words: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    begun = whole | {
        "status": "in_progress",
        "output": [],
        "usage": None,
        "incomplete_details": None,
    }
    part = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    empty = {"type": "output_text", "text": "", "annotations": []}
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    yield (
        "response.output_item.added",
        {"output_index": 0, "item": item | {"status": "in_progress", "content": []}},
    )
    yield "response.content_part.added", part | {"part": empty}
    for token in pieces(words):
        yield "response.output_text.delta", part | {"delta": token, "logprobs": []}
    yield "response.output_text.done", part | {"text": words, "logprobs": []}
    yield "response.content_part.done", part | {"part": item["content"][0]}
    yield "response.output_item.done", {"output_index": 0, "item": item}
    yield f"response.{whole['status']}", {"response": whole}
