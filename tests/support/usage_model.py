"""Usage and produced text as ``nemorouter._core`` reads them, in plain Python: the oracle."""

import json
from dataclasses import dataclass, field
from typing import Any

MOST = 2**31 - 1


class Number(str):
    """A number of JSON, as it is written."""


class Object(list[tuple[str, Any]]):
    """The members of an object, in their order."""


@dataclass(frozen=True)
class Usage:
    """A usage, read whole."""

    input: int | None = None
    cached: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    audio_input: int = 0
    image_input: int = 0
    output: int | None = None
    reasoning: int = 0
    audio_output: int = 0
    image_output: int = 0
    total: int | None = None
    searches: int = 0
    cost: int | None = None
    doubtful: bool = False


_INPUT = ("input", "cached", "cache_write", "cache_write_1h", "audio_input", "image_input")
_OUTPUT = ("output", "reasoning", "audio_output", "image_output")


def parse(data: bytes) -> Any:
    """Return the value of JSON. A byte beyond ASCII is one character. ValueError: no JSON."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    text = bytes(byte if byte < 0x80 else 0x7F for byte in data).decode("ascii")
    return json.loads(
        text,
        object_pairs_hook=Object,
        parse_int=Number,
        parse_float=Number,
        parse_constant=refuse,
    )


def size(text: str) -> int:
    """Bytes of UTF-8; two for half of a surrogate pair."""
    return sum(
        1
        if char < "\x80"
        else 2
        if char < "\u0800" or "\ud800" <= char < "\ue000"
        else 3
        if char <= "\uffff"
        else 4
        for char in text
    )


# Text


def carried(value: Any, depth: int = 8) -> int:
    """Bytes of the text that a value carries."""
    if isinstance(value, str) and not isinstance(value, Number):
        return size(value)
    if not depth or not isinstance(value, list):
        return 0
    if not isinstance(value, Object):
        return sum(carried(item, depth - 1) for item in value)
    text = 0
    reasoning = 0
    for name, member in value:
        if name in _TEXTS or (name in _OBJECTS and isinstance(member, Object)):
            text += carried(member, depth - 1)
        elif name in _REASONING:
            reasoning = max(reasoning, carried(member, depth - 1))
        elif name in _ARGUMENTS:
            text += _arguments(member)
    return text + reasoning


_TEXTS = {
    *("content", "text", "refusal", "thinking", "summary"),
    *("transcript", "tool_calls", "name", "code"),
}
_OBJECTS = {"audio", "function", "custom", "function_call"}
_REASONING = {"reasoning", "reasoning_content", "reasoning_details", "thinking_blocks"}
_ARGUMENTS = {"arguments", "input", "partial_json"}


def _arguments(value: Any) -> int:
    """Count an object as the tests write it, without white space."""
    if isinstance(value, Object):
        return len(_dumps(value)) if value else 0
    return carried(value) if isinstance(value, str) else 0


def _dumps(value: Any) -> str:
    if isinstance(value, Object):
        return "{" + ",".join(f"{json.dumps(name)}:{_dumps(each)}" for name, each in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_dumps, value)) + "]"
    return value if isinstance(value, Number) else json.dumps(value)


# Usage

_PLACES = {
    **{"prompt_tokens": "prompt", "completion_tokens": "completion"},
    **{"input_tokens": "input", "output_tokens": "output", "total_tokens": "total"},
}
_PARTS = {
    **{"cached_tokens": "cached", "prompt_cache_hit_tokens": "cached"},
    **{"num_cached_tokens": "cached", "cache_read_input_tokens": "beside_read"},
    **{"cache_creation_input_tokens": "beside_written", "reasoning_tokens": "reasoning"},
    **{"num_sources_used": "searches", "num_search_queries": "searches"},
    **{"web_search_requests": "searches"},
}
_INPUT_DETAILS = {
    **{"cached_tokens": "cached", "cache_write_tokens": "cache_write"},
    **{"cache_creation_tokens": "cache_write", "cache_creation_input_tokens": "cache_write"},
    **{"audio_tokens": "audio_input", "image_tokens": "image_input"},
}
_OUTPUT_DETAILS = {
    **{"reasoning_tokens": "reasoning", "audio_tokens": "audio_output"},
    **{"image_tokens": "image_output"},
}
_DETAILS = {
    **dict.fromkeys(
        ("prompt_tokens_details", "input_tokens_details", "input_token_details"), _INPUT_DETAILS
    ),
    **dict.fromkeys(
        ("completion_tokens_details", "output_tokens_details", "output_token_details"),
        _OUTPUT_DETAILS,
    ),
    "cache_creation": {"ephemeral_1h_input_tokens": "cache_write_1h"},
    "server_tool_use": {"web_search_requests": "searches"},
}
_LARGEST = {"cached", "cache_write", "reasoning", "searches"}
"""Of these, the largest number counts; of others the last."""


@dataclass
class _Fields:
    counts: dict[str, int] = field(default_factory=dict)
    impossible: set[str] = field(default_factory=set)
    odd: bool = False

    def take(self, name: str, value: Any, *, part: bool) -> None:
        count = self._count(value)
        self.impossible.discard(name)
        if isinstance(value, Number) and count is None:
            self.impossible.add(name)
        if part:
            before = self.counts.get(name, 0) if name in _LARGEST else 0
            self.counts[name] = max(before, count or 0)
        elif count is not None:
            self.counts[name] = count
        else:
            self.counts.pop(name, None)

    def _count(self, value: Any) -> int | None:
        if value is None:
            return None
        if isinstance(value, Number):
            number = float(value)
            if number == number // 1 and 0 <= number <= MOST:
                return int(number)
        self.odd = True
        return None


def usage_of(value: Any) -> Usage | None:
    """Return the usage that an object reports."""
    if not isinstance(value, Object):
        return None
    fields = _Fields()
    money = None
    for name, member in value:
        if name in _PLACES:
            fields.take(_PLACES[name], member, part=False)
        elif name in _PARTS:
            fields.take(_PARTS[name], member, part=True)
        elif name in _DETAILS:
            for inner, count in member if isinstance(member, Object) else ():
                if place := _DETAILS[name].get(inner):
                    fields.take(place, count, part=True)
        elif name == "cost":
            money = _nano(member)
    return _judge(fields, money)


def _judge(fields: _Fields, money: int | None) -> Usage | None:
    if fields.impossible & {"prompt", "completion", "input", "output"}:
        return None
    get = fields.counts.get
    given = get("prompt", get("input"))
    made = get("completion", get("output"))
    total = get("total")
    written = get("beside_written", 0)
    beside = get("beside_read", 0) + written
    if (
        given is not None
        and get("prompt") is None
        and (total is None or max(total - given, 0) != made)
    ):
        given += beside
    if total is not None:
        if given is not None and made is not None:
            made = max(made, total - given)
        elif given is not None and total >= given:
            made = total - given
        elif made is not None and given is None and total >= made:
            given = total - made
    if given is None and made is None and total is None:
        return None
    parts = {
        "cached": max(get("cached", 0), get("beside_read", 0)),
        "cache_write": max(get("cache_write", 0), written, get("cache_write_1h", 0)),
        **{name: get(name, 0) for name in (*_INPUT[3:], *_OUTPUT[1:])},
    }
    odd = fields.odd
    for name, count in parts.items():
        of = given if name in _INPUT else made
        most = MOST if of is None else of
        odd |= count > most
        parts[name] = min(count, most)
    return Usage(
        input=given,
        output=made,
        total=total,
        searches=get("searches", 0),
        cost=money,
        doubtful=odd,
        **parts,
    )


def _nano(value: Any) -> int | None:
    if not isinstance(value, Number):
        return None
    nano = float(value) * 1e9
    if not -0.5 < nano <= 1e18:
        return None
    whole, rest = divmod(nano, 1)
    return int(whole) + (rest >= 0.5)


def then(before: Usage | None, later: Usage) -> Usage:
    if before is None or later.total is not None:
        return later
    kept = (
        *(_INPUT if later.input is None else ()),
        *(_OUTPUT if later.output is None else ()),
    )
    return Usage(**{**later.__dict__, **{name: getattr(before, name) for name in kept}})
