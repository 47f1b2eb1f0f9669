"""Model ``nemorouter._core.Scanner``, and the reading of whole answers, in plain Python.

It is the tests' oracle. It reads all bytes anew after each chunk, and knows nothing of speed.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.support.usage_model import Number, Object, Usage, carried, parse, then, usage_of

_LINE = re.compile(rb"([^\r\n]*)(\r\n|\r|\n)")
_BLANK = b" \t\n\r\f"


@dataclass
class Told:
    """What is known of a stream."""

    usage: Usage | None = None
    produced: int = 0
    outran: bool = False
    done: bool = False
    failed: bool = False


@dataclass
class _Said:
    choices: bool = False
    tells: bool = False
    failed: bool = False
    kind: str = ""
    usage: Usage | None = None
    inner: Usage | None = None
    texts: int = 0
    deltas: int = 0
    messages: int = 0
    delta: int = 0
    output: int = 0

    def told(self) -> Usage | None:
        return self.usage or self.inner

    def produced(self) -> int:
        return self.texts + self.deltas + (0 if self.kind == "sound" else self.delta)


def _said(data: bytes) -> _Said | None:
    try:
        value = parse(data)
    except ValueError:
        return None
    if not isinstance(value, Object):
        return None
    said = _Said()
    for name, member in value:
        if reader := _MEMBERS.get(name):
            reader(said, member)
    return said


def _choices(said: _Said, choices: Any) -> None:
    for choice in choices if type(choices) is list else ():
        said.choices = True
        _choice(said, choice)


def _usage(said: _Said, usage: Any) -> None:
    said.tells = isinstance(usage, Object)
    said.usage = usage_of(usage)


def _carrier(said: _Said, carrier: Any) -> None:
    for name, member in carrier if isinstance(carrier, Object) else ():
        if name == "usage":
            said.inner = usage_of(member) or said.inner


def _delta(said: _Said, delta: Any) -> None:
    said.delta = carried(delta)


def _output(said: _Said, output: Any) -> None:
    said.output += carried(output)


def _error(said: _Said, error: Any) -> None:
    said.failed |= _is_true(error)


def _choice(said: _Said, choice: Any) -> None:
    for name, member in choice if isinstance(choice, Object) else ():
        if name == "text":
            said.texts += carried(member)
        elif name == "delta":
            said.deltas += carried(member)
        elif name == "message":
            said.messages += carried(member)
        elif name == "usage":
            said.inner = usage_of(member) or said.inner
        elif name == "error":
            said.failed |= _is_true(member)


def _kind(said: _Said, kind: Any) -> None:
    if not isinstance(kind, str):
        return
    said.failed |= kind in ("error", "response.failed")
    if kind in ("response.failed", "response.completed", "response.incomplete", "message_stop"):
        said.kind = "last"
    elif kind.endswith("audio.delta"):
        said.kind = "sound"


_MEMBERS: dict[str, Callable[[_Said, Any], None]] = {
    **{"choices": _choices, "usage": _usage, "delta": _delta, "error": _error, "type": _kind},
    **{"response": _carrier, "message": _carrier, "x_groq": _carrier},
    **{"output": _output, "content": _output},
}


def _is_true(value: Any) -> bool:
    return value != "0" if isinstance(value, Number) else bool(value)


def read(body: bytes) -> tuple[Usage | None, int, bool] | None:
    """Return the usage of a whole answer, bytes of its text, and whether it is an error."""
    said = _said(body)
    if said is None:
        return None
    return said.told(), said.texts + said.messages + said.output, said.failed


class Model:
    """One stream. ``bills`` are the usages whose cost was asked for: one at most."""

    def __init__(self, cost: str | None, *, strip: bool) -> None:
        self._cost = cost
        self._strip = strip
        self._data = b""
        self._shown = 0
        self.bills: list[Usage] = []
        self.told = Told()

    def feed(self, chunk: bytes) -> bytes:
        """Return what is passed on of a chunk."""
        self._data += chunk
        return self._more(ended=False)

    def flush(self) -> bytes:
        """Return what is passed on at the end."""
        return self._more(ended=True)

    def _more(self, *, ended: bool) -> bytes:
        run = _Run(self._cost, self._strip)
        for event in _events(self._data, ended=ended):
            run.event(event)
        if ended:
            run.last()
            run.told.failed |= not run.spoke
        self.told = run.told
        self.bills = run.bills
        shown = run.shown[self._shown :]
        self._shown = len(run.shown)
        return shown


def _events(data: bytes, *, ended: bool) -> Iterator[bytes]:
    begin = 0
    at = 0
    while match := _LINE.match(data, at):
        at = match.end()
        if not match[1] or (match[1] == b"\xef\xbb\xbf" and match.start() == 0):
            # A byte order mark alone is no whole event for the scanner until the next one is.
            if match[1]:
                continue
            yield data[begin:at]
            begin = at
    if ended and begin < len(data):
        yield data[begin:]


class _Run:
    """A stream, read from its begin."""

    def __init__(self, cost: str | None, strip: bool) -> None:
        self._cost = cost
        self._strip = strip
        self._held: list[bytes] = []
        self._begin = True
        self.bills: list[Usage] = []
        self.spoke = False
        self.shown = b""
        self.told = Told()

    def event(self, event: bytes) -> None:
        begin = self._begin
        self._begin = False
        data, error = _fields(event, begin=begin)
        told = self.told
        if data == b"[DONE]":
            told.done = True
            self.last()
        said = _said(data) if data not in (b"", b"[DONE]") else None
        if said is None:
            told.failed |= error and data not in (b"", b"[DONE]")
            self._pass(event)
            return
        first = not self.spoke
        self.spoke = True
        told.failed |= said.failed or error
        told.done |= said.kind == "last"
        told.produced += said.produced()
        usage = said.told()
        if usage is not None:
            told.usage = then(told.usage, usage)
            told.outran = False
        elif said.produced():
            told.outran = told.usage is not None
        chunk = said.tells and not said.choices
        if self._strip:
            self._pass(b"" if chunk else event)
        elif said.kind == "last":
            if usage is not None:
                self.release()
                self._held = [event]
            self.last()
            self._pass(event if usage is None else b"")
        elif chunk and usage is not None and not first:
            self.release()
            self._held = [event]
        else:
            if usage is not None or said.produced():
                self.release()
            self._pass(event)

    def last(self) -> None:
        """Mark the usage that is held back as the last."""
        told = self.told
        if self._held and not told.failed and not self.bills and told.usage is not None:
            self.bills.append(told.usage)
            if self._cost is not None:
                marked = b'{"nemo_request_cost":"%b",' % self._cost.encode()
                self._held[0] = _mark(self._held[0], marked)
        self.release()

    def release(self) -> None:
        """Pass on what was held back."""
        self.shown += b"".join(self._held)
        self._held = []

    def _pass(self, event: bytes) -> None:
        if self._held:
            self._held.append(event)
        else:
            self.shown += event


def _fields(event: bytes, *, begin: bool) -> tuple[bytes, bool]:
    """Return the data of an event, and whether it is of the type error."""
    if begin:
        event = event.removeprefix(b"\xef\xbb\xbf")
    lines = []
    error = False
    for line in event.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value.strip(_BLANK))
        elif name == b"event":
            error = value.strip(_BLANK) == b"error"
    return b"\n".join(line for line in lines if line), error


def _mark(event: bytes, marked: bytes) -> bytes:
    """Insert the cost behind the first brace of the event's data."""
    at = re.search(rb"(?:\A\xef\xbb\xbf|\A|[\r\n])data:[ \t\f]*\{", event)
    assert at is not None
    return event[: at.end() - 1] + marked + event[at.end() :]
