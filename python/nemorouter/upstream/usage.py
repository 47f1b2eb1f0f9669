"""Token usage, read from an answer. Numbers that cannot be true count as not told. A leaf."""

from typing import Any

import msgspec

MOST = 2**31 - 1
"""More tokens than any answer has; a larger number is a fault, not a bill."""

Usage = tuple[int, int, int]
"""Tokens of input, of which cached, and of output."""


class Details(msgspec.Struct, gc=False):
    """``prompt_tokens_details`` or ``input_tokens_details``."""

    cached_tokens: Any = None


class Fields(msgspec.Struct, gc=False):
    """``usage`` as chat, completions, embeddings and responses name it. Any type is let in; ``tokens`` judges."""

    prompt_tokens: Any = None
    completion_tokens: Any = None
    prompt_tokens_details: Details | None = None
    input_tokens: Any = None
    output_tokens: Any = None
    input_tokens_details: Details | None = None
    total_tokens: Any = None

    def tokens(self) -> Usage | None:
        """The usage, or None if it is missing or absurd."""
        given, made = self.prompt_tokens, self.completion_tokens
        details = self.prompt_tokens_details
        if given is None:
            given, made, details = self.input_tokens, self.output_tokens, self.input_tokens_details
        if made is None and given == self.total_tokens:
            made = 0  # embeddings produce no token
        cached = details.cached_tokens if details is not None else 0
        if cached is None:
            cached = 0
        if not (_is_count(given) and _is_count(made) and _is_count(cached)):
            return None
        return given, min(cached, given), made


class _Body(msgspec.Struct, gc=False):
    usage: Fields | None = None


_decode = msgspec.json.Decoder(_Body).decode


def read(body: bytes) -> Usage | None:
    """The usage of a whole JSON answer; None if it does not tell."""
    try:
        usage = _decode(body).usage
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return usage.tokens() if usage is not None else None


class _Message(msgspec.Struct, gc=False):
    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    tool_calls: msgspec.Raw = msgspec.Raw()


class _Choice(msgspec.Struct, gc=False):
    message: _Message | None = None
    text: Any = None


class _Text(msgspec.Struct, gc=False):
    choices: list[_Choice] = []
    output: msgspec.Raw = msgspec.Raw()


_decode_text = msgspec.json.Decoder(_Text).decode


def produced(body: bytes) -> int:
    """Bytes of produced text in a whole answer; all of a body that is no JSON counts as text."""
    try:
        seen = _decode_text(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return len(body)
    texts: list[Any] = [choice.text for choice in seen.choices]
    total = len(seen.output)
    for choice in seen.choices:
        if choice.message is not None:
            texts += (choice.message.content, choice.message.refusal, choice.message.reasoning_content)
            total += len(choice.message.tool_calls)
    return total + sum(len(text.encode()) for text in texts if isinstance(text, str))


def estimate(produced_bytes: int) -> int:
    """Tokens of output that so many bytes of text stand for."""
    return -(-produced_bytes // 4)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= MOST
