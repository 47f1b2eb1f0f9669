"""Rows as CSV that no spreadsheet takes for formulas."""

import csv
import io
from collections.abc import Sequence
from typing import Any, Final

import msgspec

_FORMULA: Final = ("=", "+", "-", "@", ";", "\t", "\r", "\n")


def head(row: type[msgspec.Struct]) -> bytes:
    """Write the line of column names."""
    return _lines([row.__struct_fields__])


def lines(rows: Sequence[msgspec.Struct]) -> bytes:
    """Write one line a row."""
    return _lines([[cell(value) for value in msgspec.structs.astuple(row)] for row in rows])


def cell(value: object) -> str:
    """Return a value as text of a CSV cell.

    An apostrophe stands before what a spreadsheet would run as a formula, also behind blanks.
    """
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case dict() | list() | tuple():
            text = msgspec.json.encode(value).decode()
        case _:
            text = str(value)
    return "'" + text if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


def _lines(rows: Sequence[Sequence[Any]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue().encode("utf-8", "replace")
