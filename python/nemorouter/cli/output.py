"""Print the results of commands.

Stored text is inert: no control character of it reaches a terminal, and no markup works.
"""

import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec


def inert(text: str) -> str:
    """``text`` with control, format and surrogate characters spelled out."""
    return "".join(
        char
        if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
        else _spelled(char)
        for char in text
    )


def print_json(value: Any) -> None:  # noqa: ANN401 - any view
    """``value`` as indented JSON."""
    encoded = msgspec.json.format(msgspec.json.encode(value), indent=2)
    sys.stdout.buffer.write(encoded + b"\n")
    sys.stdout.buffer.flush()


def print_line(text: str) -> None:
    """Print a line that may hold stored text."""
    print(inert(text))


def note(text: str) -> None:
    """Print a remark beside the result, on stderr."""
    print(inert(text), file=sys.stderr)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows under headings; on a terminal in its width, else one wide line a row."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    wide = not sys.stdout.isatty()
    for column in columns:
        table.add_column(Text(column), no_wrap=wide, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    Console(width=10_000 if wide else None, markup=False, highlight=False, soft_wrap=wide).print(
        table
    )


def print_fields(value: msgspec.Struct) -> None:
    """One thing, a field a line."""
    fields = msgspec.to_builtins(value)
    width = max(map(len, fields))
    for name, field in fields.items():
        print(f"{name:<{width}}  {_cell(field)}")


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return inert(", ".join(map(str, value))) if value else "-"
        case dict():
            return inert(", ".join(f"{name} {_cell(item)}" for name, item in value.items()))
        case _:
            return inert(str(value))


def _spelled(char: str) -> str:
    code = ord(char)
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )
