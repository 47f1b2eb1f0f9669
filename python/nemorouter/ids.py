"""Ids: 63-bit row numbers, ordered by time, and the text in which the outside sees them. A leaf.

The text is a bijection: exactly one spelling names a row, so a log line or a URL can be searched
for as it stands.
"""

import secrets
import threading
import time

EPOCH_MS = 1_704_067_200_000
"""2024-01-01T00:00:00Z: what the time part of an id counts from."""

_RANDOM_BITS = 21
_MAX_ID = (1 << 63) - 1
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_WIDTH = 13

_lock = threading.Lock()
_last = 0


def new_id() -> int:
    """Make a new row id: milliseconds since 2024 and 21 random bits.

    Ids rise strictly within a process.
    """
    global _last
    moment = (time.time_ns() // 1_000_000 - EPOCH_MS) << _RANDOM_BITS | secrets.randbits(
        _RANDOM_BITS
    )
    with _lock:
        _last = max(moment, _last + 1)
        return _last


def to_text(prefix: str, id: int) -> str:
    """Write an id as text, such as ``key_01h...``.

    The text is the prefix (``key``, ``team``, ``user``, ``org``, ...), an underscore and 13
    characters for the 63 bits of ``id``.
    """
    if not 0 <= id <= _MAX_ID:
        raise ValueError("an id has 63 bits")
    return (
        prefix
        + "_"
        + "".join(_DIGITS[id >> shift & 31] for shift in range(5 * (_WIDTH - 1), -1, -5))
    )


def from_text(prefix: str, text: str) -> int:
    """Read an id that ``to_text`` wrote. ValueError: another spelling or another prefix."""
    head, _, digits = text.partition("_")
    if head != prefix or len(digits) != _WIDTH or not _VALUES.keys() >= set(digits):
        raise ValueError(f"not an id of the form {prefix}_ and {_WIDTH} characters")
    id = 0
    for digit in digits:
        id = id << 5 | _VALUES[digit]
    if id > _MAX_ID:
        raise ValueError("an id has 63 bits")
    return id


def request_text(journal_id: int, seq: int) -> str:
    """Write the request id of a log row: ``req_`` and 32 hex digits of journal and ticket."""
    return f"req_{journal_id:016x}{seq:016x}"


def request_from_text(text: str) -> tuple[int, int]:
    """Return journal_id and seq of a request id; ValueError for any other text."""
    digits = text.removeprefix("req_")
    if len(text) != 36 or len(digits) != 32 or not set("0123456789abcdef") >= set(digits):
        raise ValueError("not a request id: req_ and 32 hex digits")
    return int(digits[:16], 16), int(digits[16:], 16)
