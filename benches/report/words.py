"""Write figures, paragraphs and tables as Markdown."""

import textwrap
from collections.abc import Iterable, Sequence

from benches.report.pieces import middle, spread

_WIDTH = 100


def paragraph(*sentences: str, indent: str = "") -> str:
    """Join ``sentences`` to a paragraph that is wrapped at 100 columns and ends with a newline.

    ``indent`` begins every line but the first, as a list item needs it.
    """
    return (
        textwrap.fill(
            " ".join(sentences),
            _WIDTH,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        + "\n"
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """Write a Markdown table.

    The first ``words`` columns are text, and so is a column whose name ends with a space. All other
    columns are numbers and stand to the right.
    """
    marks = [
        "---" if number < words or name.endswith(" ") else "---:"
        for number, name in enumerate(columns)
    ]
    lines = [" | ".join(map(_cell, line)) for line in (columns, marks, *rows)]
    return "".join(f"| {line} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def ratio(values: Sequence[float]) -> str:
    """Write the median and its ±, such as "1.23 ± 0.04"."""
    found = middle(values)
    digits = 2 if found < 10 else 1 if found < 100 else 0
    return f"{found:.{digits}f} ± {spread(values):.{digits}f}"


def number(value: float) -> str:
    """Write a number with a decimal below 100, without one from there on, and with commas."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def nanoseconds(value: float) -> str:
    """Write a time, given in nanoseconds, such as "250 ns", "1.25 µs" or "12.0 ms"."""
    for size, unit in ((1e6, "ms"), (1e3, "µs")):
        if value >= size:
            digits = 2 if value < 10 * size else 1
            return f"{value / size:.{digits}f} {unit}"
    return f"{value:.0f} ns"


def microseconds(value: float) -> str:
    """Write a time, given in microseconds, as ``nanoseconds`` does."""
    return nanoseconds(value * 1e3)
