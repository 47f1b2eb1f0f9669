"""The few fields of a body that the decision needs; the bytes themselves go upstream unread.

The limiter and the upstream must see the same values, so a body that two parsers could read differently is refused.
"""

import json
import re
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, UnsetType

from nemorouter.errors import Code
from nemorouter.gateway.problems import RejectedError
from nemorouter.types import MAX_MODEL_BYTES, Endpoint

_MAX_PROMPTS: Final = 2048
Tokens = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] | UnsetType | None
Count = Annotated[int, msgspec.Meta(ge=1, le=128)] | UnsetType | None


class StreamOptions(msgspec.Struct):
    """``stream_options``."""

    include_usage: bool | None = None


class Peek(msgspec.Struct):
    """What every endpoint shares. ``UNSET`` is a field that was not sent; None one that was sent as null."""

    model: str | UnsetType | None = UNSET
    stream: bool | UnsetType | None = UNSET

    def output(self) -> int:
        """The most tokens a choice may produce, as the client says; -1 = it does not say."""
        return -1

    def choices(self) -> int:
        """How many answers, or images, are asked for."""
        return 1

    def lacks_usage(self) -> bool:
        """Will the stream end without a usage chunk, unless one is asked for?"""
        return False

    def may_repeat(self, body: bytes) -> bool:
        """Does a field that matters stand more than once in the body, at any depth, or under an escaped name?"""
        names = self.__struct_fields__
        return any(body.count(b'"%b"' % name.encode()) != 1 for name in names if getattr(self, name) is not UNSET)


class _Streamed(Peek):
    stream_options: StreamOptions | UnsetType | None = UNSET
    max_tokens: Tokens = UNSET
    n: Count = UNSET

    def lacks_usage(self) -> bool:
        options = self.stream_options
        return bool(self.stream) and not (options and options.include_usage)


class Chat(_Streamed):
    """``/v1/chat/completions``."""

    max_completion_tokens: Tokens = UNSET

    def output(self) -> int:
        new, old = self.max_completion_tokens, self.max_tokens
        if new is UNSET or new is None:
            return -1 if old is UNSET or old is None else old
        return new if old is UNSET or old is None else max(new, old)

    def choices(self) -> int:
        return self.n or 1

    def may_repeat(self, body: bytes) -> bool:
        """As above, spelt out: it is the one that most requests pass."""
        count = body.count
        return (
            count(b'"model"') != 1
            or (self.max_tokens is not UNSET and count(b'"max_tokens"') != 1)
            or (self.stream is not UNSET and count(b'"stream"') != 1)
            or (self.stream_options is not UNSET and count(b'"stream_options"') != 1)
            or (self.max_completion_tokens is not UNSET and count(b'"max_completion_tokens"') != 1)
            or (self.n is not UNSET and count(b'"n"') != 1)
        )


class Completion(_Streamed):
    """``/v1/completions``: each of several prompts is answered ``n`` times."""

    best_of: Count = UNSET
    prompt: str | list[int | str | list[int]] | UnsetType | None = UNSET

    def output(self) -> int:
        return -1 if self.max_tokens is UNSET or self.max_tokens is None else self.max_tokens

    def choices(self) -> int:
        prompts = len(self.prompt) if isinstance(self.prompt, list) and not _is_tokens(self.prompt) else 1
        if prompts > _MAX_PROMPTS:
            raise RejectedError(Code.INVALID_REQUEST, f"prompt: at most {_MAX_PROMPTS} prompts in one request.")
        return max(self.n or 1, self.best_of or 1) * max(prompts, 1)


class Response(Peek):
    """``/v1/responses``."""

    max_output_tokens: Tokens = UNSET

    def output(self) -> int:
        return -1 if self.max_output_tokens is UNSET or self.max_output_tokens is None else self.max_output_tokens


class Image(Peek):
    """``/v1/images/generations``."""

    n: Count = UNSET

    def choices(self) -> int:
        return self.n or 1


NO_MODEL = Peek(model="-")
"""Stands for a request that calls no model, on a path that is guarded all the same. Where a budget applies, ``-`` needs
a price as any model does."""

_KINDS: dict[int, type[Peek]] = {
    Endpoint.CHAT_COMPLETIONS: Chat,
    Endpoint.COMPLETIONS: Completion,
    Endpoint.RESPONSES: Response,
    Endpoint.EMBEDDINGS: Peek,
    Endpoint.IMAGES_GENERATIONS: Image,
    Endpoint.MODERATIONS: Peek,
}
_DECODE = {endpoint: msgspec.json.Decoder(kind).decode for endpoint, kind in _KINDS.items()}
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]", re.IGNORECASE)
_PATH = re.compile(r" - at `\$\.?(.*)`")


def peek(body: bytes, endpoint: int) -> Peek:
    """The fields of a body. RejectedError names the one at fault."""
    try:
        seen = _DECODE[endpoint](body)
        if not body.isascii():
            body.decode()
    except msgspec.ValidationError as error:
        raise RejectedError(Code.INVALID_REQUEST, _explain(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RejectedError(Code.INVALID_JSON) from None
    except RecursionError:
        raise RejectedError(Code.INVALID_JSON, "The body is nested too deeply.") from None
    if seen.may_repeat(body) or (b"\\" in body and _ESCAPED_LETTER.search(body)):
        _refuse_duplicates(body, seen)
    model = seen.model
    if not model:
        raise RejectedError(Code.MISSING_MODEL)
    if len(model) > MAX_MODEL_BYTES // 4 and len(model.encode()) > MAX_MODEL_BYTES:
        raise RejectedError(Code.INVALID_REQUEST, f"model: at most {MAX_MODEL_BYTES} bytes.")
    if not model.isprintable():
        raise RejectedError(Code.INVALID_REQUEST, "model: no control characters.")
    return seen


def with_usage(body: bytes) -> bytes:
    """The same request, asking for a usage chunk at the stream's end. Other fields keep their bytes."""
    if b'"stream_options"' not in body and not _ESCAPED_LETTER.search(body):
        start = body.index(b"{") + 1
        return b'%b"stream_options":{"include_usage":true},%b' % (body[:start], body[start:])
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    options = msgspec.json.decode(fields.get("stream_options", b"null"), type=dict[str, msgspec.Raw] | None) or {}
    options["include_usage"] = msgspec.Raw(b"true")
    fields["stream_options"] = msgspec.Raw(msgspec.json.encode(options))
    return msgspec.json.encode(fields)


def _refuse_duplicates(body: bytes, seen: Peek) -> None:
    """The exact check, for bodies in which a name stands more than once (mostly in nested objects) or is escaped."""
    try:
        pairs: list[tuple[str, object]] = json.loads(body, object_pairs_hook=list)
    except (ValueError, RecursionError):
        raise RejectedError(Code.INVALID_JSON) from None
    names = [name for name, _ in pairs]
    for field in seen.__struct_fields__:
        if names.count(field) > 1:
            raise RejectedError(Code.INVALID_REQUEST, f"{field}: the field is given more than once.")


def _is_tokens(prompt: list[int | str | list[int]]) -> bool:
    return bool(prompt) and isinstance(prompt[0], int)


def _explain(error: msgspec.ValidationError) -> str:
    """``max_tokens: expected `int` >= 0.`` out of msgspec's words, which never quote a value."""
    text = str(error)
    where = _PATH.search(text)
    what = _PATH.sub("", text)
    what = f"{what[:1].lower()}{what[1:]}."
    return f"{where[1]}: {what}" if where and where[1] else f"The body is not usable: {what}"
