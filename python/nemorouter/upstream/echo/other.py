"""Echo's embeddings, images and moderations: the same input gives the same answer."""

import base64
import hashlib
import math
from array import array
from typing import Annotated, Any, Literal

import msgspec

from nemorouter.upstream.base import Answer, Request
from nemorouter.upstream.echo.chat import JSON
from nemorouter.upstream.echo.text import CREATED, count

_PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk"
    "YPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
_CATEGORIES = (
    *(
        "harassment",
        "harassment/threatening",
        "hate",
        "hate/threatening",
        "illicit",
        "illicit/violent",
    ),
    *("self-harm", "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors"),
    *("violence", "violence/graphic"),
)


class _Embeddings(msgspec.Struct, gc=False):
    model: str
    input: str | list[int | str | list[int]]
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=3072)] | None = None
    encoding_format: Literal["float", "base64"] | None = None


class _Image(msgspec.Struct, gc=False):
    model: str
    prompt: str
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None


class _Moderation(msgspec.Struct, gc=False):
    model: str
    input: str | list[Any]


_decode_embeddings = msgspec.json.Decoder(_Embeddings).decode
_decode_image = msgspec.json.Decoder(_Image).decode
_decode_moderation = msgspec.json.Decoder(_Moderation).decode


def embeddings(request: Request) -> Answer:
    """``/embeddings``: unit vectors drawn from a hash of the text."""
    asked = _decode_embeddings(request.body)
    texts = _texts(asked.input)
    given = count("".join(texts))
    data = []
    for index, text in enumerate(texts):
        vector = _vector(text, asked.dimensions or 256)
        shown = (
            base64.b64encode(vector.tobytes()).decode()
            if asked.encoding_format == "base64"
            else list(vector)
        )
        data.append({"object": "embedding", "index": index, "embedding": shown})
    usage = {"prompt_tokens": given, "total_tokens": given}
    return _json({"object": "list", "data": data, "model": asked.model, "usage": usage}, given)


def images(request: Request) -> Answer:
    """``/images/generations``: one pixel, as often as asked."""
    asked = _decode_image(request.body)
    return _json(
        {"created": CREATED, "data": [{"b64_json": _PIXEL}] * (asked.n or 1)}, count(asked.prompt)
    )


def moderations(request: Request) -> Answer:
    """``/moderations``: nothing is ever flagged."""
    asked = _decode_moderation(request.body)
    inputs = [asked.input] if isinstance(asked.input, str) else asked.input
    clean = {
        "flagged": False,
        "categories": dict.fromkeys(_CATEGORIES, False),
        "category_scores": dict.fromkeys(_CATEGORIES, 0.0),
        "category_applied_input_types": {category: ["text"] for category in _CATEGORIES},
    }
    identity = f"modr-{request.request_id[4:]}"
    given = count("".join(one for one in inputs if isinstance(one, str)))
    return _json({"id": identity, "model": asked.model, "results": [clean] * len(inputs)}, given)


def _texts(asked: str | list[int | str | list[int]]) -> list[str]:
    if isinstance(asked, str):
        return [asked]
    if asked and isinstance(asked[0], int):
        return [msgspec.json.encode(asked).decode().strip("[]")]
    return [
        one if isinstance(one, str) else msgspec.json.encode(one).decode().strip("[]")
        for one in asked
    ]


def _vector(text: str, dimensions: int) -> "array[float]":
    drawn = hashlib.shake_128(text.encode()).digest(dimensions)
    length = math.sqrt(sum((byte - 127.5) ** 2 for byte in drawn))
    return array("f", ((byte - 127.5) / length for byte in drawn))


def _json(answer: dict[str, Any], given: int) -> Answer:
    return Answer(200, JSON, msgspec.json.encode(answer), usage=(given, 0, 0))
