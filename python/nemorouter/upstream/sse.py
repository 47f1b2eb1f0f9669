"""Server-sent events passing by: finds usage, counts produced text, drops or marks the usage chunk.

It keeps one event at most; chunks may break anywhere. After an event longer than ``LONGEST`` all passes unread.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from nemorouter.upstream.usage import Fields, Usage

LONGEST = 8 * 1024 * 1024


class _Delta(msgspec.Struct, gc=False):
    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    tool_calls: msgspec.Raw = msgspec.Raw()


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    text: Any = None


class _Response(msgspec.Struct, gc=False):
    usage: Fields | None = None


class _Event(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: Fields | None = None
    response: _Response | None = None
    delta: Any = None


_decode = msgspec.json.Decoder(_Event).decode


class Scanner:
    """One stream. ``feed`` every chunk and pass on what it answers, then ``flush``.

    ``final`` is called with the usage when the chunk that ends the bill goes by (of chat and completions the one
    without choices); it answers the cost to be written into that chunk, or None. With ``strip`` the client does not
    get that chunk.
    """

    __slots__ = ("_final", "_held", "_overlong", "_strip", "produced", "usage")

    def __init__(self, final: Callable[[Usage], str | None], *, strip: bool) -> None:
        self._final = final
        self._strip = strip
        self._held = b""
        self._overlong = False
        self.usage: Usage | None = None
        self.produced = 0

    def feed(self, chunk: bytes) -> bytes:
        """The whole events that are complete with this chunk, as the client shall see them."""
        if self._overlong:
            self.produced += len(chunk)
            return chunk
        data = self._held + chunk if self._held else chunk
        lf, crlf = data.rfind(b"\n\n"), data.rfind(b"\r\n\r\n")
        end = max(lf + 2 if lf >= 0 else 0, crlf + 4 if crlf >= 0 else 0)
        self._held = data[end:]
        if len(self._held) > LONGEST:
            self._overlong = True
            self._held, end = b"", len(data)
        return self._pass(data[:end]) if end else b""

    def flush(self) -> bytes:
        """What is left at the stream's end: an event that lacks its blank line."""
        held, self._held = self._held, b""
        return self._pass(held) if held else b""

    def _pass(self, events: bytes) -> bytes:
        separator = b"\r\n\r\n" if b"\r\n\r\n" in events else b"\n\n"
        seen = (self._event(event) if event else event for event in events.split(separator))
        return separator.join(event for event in seen if event is not None)

    def _event(self, event: bytes) -> bytes | None:
        """The event as the client shall see it; None = not at all."""
        start = event.find(b"data:")
        if start < 0 or (start and event[start - 1 : start] != b"\n"):
            return event
        stop = event.find(b"\n", start)
        payload = event[start + 5 : stop if stop > 0 else None].strip()
        if payload == b"[DONE]":
            return event
        try:
            seen = _decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.produced += len(payload)
            return event
        self._count(seen)
        fields = seen.usage or (seen.response.usage if seen.response is not None else None)
        usage = fields.tokens() if fields is not None else None
        if usage is not None:
            self.usage = usage
        if fields is None or seen.choices:
            return event
        if self._strip:
            return None
        cost = self._final(usage) if usage is not None else None
        return event if cost is None else _mark(event, start, cost)

    def _count(self, seen: _Event) -> None:
        """Add the bytes of produced text."""
        if isinstance(seen.delta, str):
            self.produced += len(seen.delta.encode())
        for choice in seen.choices or ():
            texts = [choice.text]
            if choice.delta is not None:
                texts += (choice.delta.content, choice.delta.refusal, choice.delta.reasoning_content)
                self.produced += len(choice.delta.tool_calls) if choice.delta.tool_calls != b"null" else 0
            self.produced += sum(len(text.encode()) for text in texts if isinstance(text, str))


def _mark(event: bytes, start: int, cost: str) -> bytes:
    """The event with ``nemo_request_cost`` as first member of its JSON object."""
    at = event.index(b"{", start) + 1
    comma = b"" if event[at:].lstrip().startswith(b"}") else b","
    return b'%b"nemo_request_cost":"%b"%b%b' % (event[:at], cost.encode(), comma, event[at:])
