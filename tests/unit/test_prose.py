"""Hold what the linter cannot: a docstring stands alone, and names what it describes."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path
    for folder in ("python", "tests", "benches")
    for path in (ROOT / folder).rglob("*.py*")
    if path.suffix in (".py", ".pyi")
)
RIDDLE = re.compile(r"(The same|Who)\b")


def texts(tree: ast.AST) -> list[tuple[int, str]]:
    """Return line and text of each docstring, those of constants and fields included."""
    return [
        (node.lineno, node.value.value.strip())
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]


def riddles(source: str) -> list[tuple[int, str]]:
    """Return the docstrings that refer to another text, or name a person for a caller."""
    return [(line, text) for line, text in texts(ast.parse(source)) if RIDDLE.match(text)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_stand_alone(path: Path) -> None:
    assert riddles(path.read_text("utf-8")) == []


@pytest.mark.parametrize("text", ["The same, but alone.", "Who waits for a lease.", "Who asks?"])
def test_a_riddle_is_found(text: str) -> None:
    assert riddles(f'def ask():\n    """{text}"""\n') == [(2, text)]
    assert riddles(f'LIMIT = 1\n"""{text}"""\n') == [(2, text)]
    assert riddles('"""Whole answers."""\n') == []
