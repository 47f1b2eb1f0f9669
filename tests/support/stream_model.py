"""A stream as ``nemorouter._core.Scanner`` treats it, and whole answers, in plain Python: the
tests' oracle.

It copies what it likes and knows nothing of speed.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from nemorouter.upstream.base import Usage

_EVENT = re.compile(rb"(?:(?!\r?\n).*\n)*\r?\n")
"""Lines that say something, and the empty one that ends the event."""
_FAULTS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class _Details(msgspec.Struct):
    cached_tokens: Any = None


class _Fields(msgspec.Struct):
    prompt_tokens: Any = None
    completion_tokens: Any = None
    prompt_tokens_details: _Details | None = None
    input_tokens: Any = None
    output_tokens: Any = None
    input_tokens_details: _Details | None = None
    total_tokens: Any = None

    def tokens(self) -> Usage | None:
        given, made, details = (
            self.prompt_tokens,
            self.completion_tokens,
            self.prompt_tokens_details,
        )
        if given is None:
            given, made, details = self.input_tokens, self.output_tokens, self.input_tokens_details
        if made is None and given == self.total_tokens:
            made = 0
        cached = (details.cached_tokens if details is not None else None) or 0
        told = given, min(cached, given) if type(cached) is type(given) is int else cached, made
        return (
            told
            if all(type(count) is int and 0 <= count < 2**31 for count in (given, cached, made))
            else None
        )


class _Said(msgspec.Struct):
    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    tool_calls: msgspec.Raw = msgspec.Raw()

    def size(self) -> int:
        return _size(self.content, self.refusal, self.reasoning_content) + _length(self.tool_calls)


class _Choice(msgspec.Struct):
    delta: _Said | None = None
    message: _Said | None = None
    text: Any = None


class _Told(msgspec.Struct):
    usage: _Fields | None = None


class _Event(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Fields | None = None
    response: _Told | None = None
    delta: Any = None


class _Text(msgspec.Struct):
    choices: list[_Choice] | None = None
    output: msgspec.Raw = msgspec.Raw()


class Model:
    """One stream."""

    def __init__(self, bill: Callable[[Usage], str | None], *, strip: bool) -> None:
        self._bill = bill
        self._strip = strip
        self._held = b""
        self.usage: Usage | None = None
        self.produced = 0

    def feed(self, chunk: bytes) -> bytes:
        data, shown, end = self._held + chunk, b"", 0
        while match := _EVENT.match(data, end):
            shown += self._event(match.group())
            end = match.end()
        self._held = data[end:]
        return shown

    def flush(self) -> bytes:
        return self._event(self._held)

    def _event(self, event: bytes) -> bytes:
        lines = event.split(b"\n")
        line = next((line for line in lines if line.startswith(b"data:")), b"")
        data = line.removeprefix(b"data:").strip(b" \t\r\f")
        if data in (b"", b"[DONE]"):
            return event
        try:
            seen = msgspec.json.decode(data, type=_Event)
        except _FAULTS:
            self.produced += len(data)
            return event
        self.produced += _size(seen.delta)
        for choice in seen.choices or ():
            self.produced += _size(choice.text) + (
                choice.delta.size() if choice.delta is not None else 0
            )
        fields = seen.usage or (seen.response.usage if seen.response is not None else None)
        usage = fields.tokens() if fields is not None else None
        self.usage = usage or self.usage
        if fields is None or seen.choices:
            return event
        if self._strip:
            return b""
        cost = self._bill(usage) if usage is not None else None
        if cost is not None:
            lines[lines.index(line)] = line.replace(
                b"{", b'{"nemo_request_cost":"%b",' % cost.encode(), 1
            )
        return b"\n".join(lines)


def read(body: bytes) -> Usage | None:
    try:
        usage = msgspec.json.decode(body, type=_Told).usage
    except _FAULTS:
        return None
    return usage.tokens() if usage is not None else None


def produced(body: bytes) -> int:
    try:
        seen = msgspec.json.decode(body, type=_Text)
    except _FAULTS:
        return len(body)
    choices = seen.choices or ()
    messages = sum(choice.message.size() for choice in choices if choice.message is not None)
    return messages + sum(_size(choice.text) for choice in choices) + _length(seen.output)


def _size(*values: object) -> int:
    return sum(len(value.encode()) for value in values if isinstance(value, str))


def _length(raw: msgspec.Raw) -> int:
    return 0 if bytes(raw) == b"null" else len(raw)
