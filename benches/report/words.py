"""How figures and tables are written."""

from collections.abc import Iterable, Sequence

from benches.report.pieces import middle, spread


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """A Markdown table; the first ``words`` columns, and one that ends in a word, are text, the
    others numbers.
    """
    marks = [
        "---" if number < words or name.endswith(" ") else "---:"
        for number, name in enumerate(columns)
    ]
    lines = [columns, marks, *rows]
    return (
        "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines) + "\n"
    )


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def ratio(values: Sequence[float]) -> str:
    """1.23 ± 0.04 ×"""
    middle_, wide = middle(values), spread(values)
    digits = 2 if middle_ < 10 else 1 if middle_ < 100 else 0
    return f"{middle_:.{digits}f} ± {wide:.{digits}f}"


def number(value: float) -> str:
    """Three digits that count."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def wide(values: Sequence[float]) -> str:
    """Median, and the least and greatest."""
    return f"{number(middle(values))} ({number(min(values))} to {number(max(values))})"


def nanoseconds(value: float) -> str:
    """250 ns, 1.25 µs, 12 ms."""
    for size, unit in ((1e6, "ms"), (1e3, "µs")):
        if value >= size:
            return (
                f"{value / size:.2f} {unit}" if value < 10 * size else f"{value / size:.1f} {unit}"
            )
    return f"{value:.0f} ns"


def microseconds(value: float) -> str:
    """As ``nanoseconds``, of microseconds."""
    return nanoseconds(value * 1e3)
