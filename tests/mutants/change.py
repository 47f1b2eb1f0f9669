"""Make mutants of a Python module: each differs in one comparison, operator, constant or call."""

import ast
from collections.abc import Iterator
from copy import deepcopy
from typing import Final, NamedTuple

_COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATORS: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_BOOLEANS: Final[dict[type[ast.boolop], type[ast.boolop]]] = {ast.And: ast.Or, ast.Or: ast.And}


class Mutant(NamedTuple):
    """One change of a module: the line, what was done there, and the source of the whole."""

    line: int
    what: str
    source: str


def mutants(source: str) -> Iterator[Mutant]:
    """Make every mutant of ``source``, in the order of its lines.

    Annotations, docstrings and texts are left alone: no test could tell.
    """
    tree = ast.parse(source)
    places = [node for node in _code(tree) if _changed(node) is not None]
    for place in sorted(places, key=lambda node: (node.lineno, node.col_offset)):
        changed = _changed(place)
        assert changed is not None
        yield Mutant(
            place.lineno,
            f"{_text(place)}  ->  {_text(changed)}",
            ast.unparse(ast.fix_missing_locations(_With(place, changed).visit(deepcopy(tree)))),
        )


def _code(tree: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """Walk what runs: no annotation, no docstring, no import."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "type_params", "decorator_list"):
            continue
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.AST) and not isinstance(node, ast.Import | ast.ImportFrom):
                if isinstance(node, ast.expr | ast.stmt):
                    yield node
                yield from _code(node)


def _changed(node: ast.expr | ast.stmt) -> ast.expr | ast.stmt | None:
    """Return a changed copy of ``node``; None if nothing is changed at this kind of node."""
    changed = deepcopy(node)
    match changed:
        case ast.Compare(ops=[op]) if type(op) in _COMPARISONS:
            changed.ops = [_COMPARISONS[type(op)]()]
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in _OPERATORS:
            if isinstance(changed, ast.BinOp) and _is_type(changed):
                return None
            changed.op = _OPERATORS[type(op)]()
        case ast.BoolOp(op=op):
            changed.op = _BOOLEANS[type(op)]()
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return operand
        case ast.Constant(value=bool(value)):
            changed.value = not value
        case ast.Constant(value=int(value)):
            changed.value = value + 1
        case ast.Expr(value=ast.Call() | ast.Await(value=ast.Call()) as call):
            if ast.unparse(call).startswith("_log."):
                return None  # what is logged is not promised
            return ast.copy_location(ast.Pass(), changed)
        case _:
            return None
    return changed


def _is_type(node: ast.BinOp) -> bool:
    """Tell a union of types or of texts from arithmetic, as far as the source shows."""
    sides = (node.left, node.right)
    return any(
        isinstance(side, ast.JoinedStr)
        or (isinstance(side, ast.Constant) and isinstance(side.value, str | bytes | None))
        or (isinstance(side, ast.Name) and side.id[:1].isupper() and isinstance(node.op, ast.BitOr))
        for side in sides
    )


def _text(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 70 else text[:67] + "..."


class _With(ast.NodeTransformer):
    """A copy of the tree with another node at the place of one."""

    def __init__(self, old: ast.expr | ast.stmt, new: ast.expr | ast.stmt) -> None:
        self._place = _place(old)
        self._new = new

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.expr | ast.stmt) and _place(node) == self._place:
            return self._new
        return self.generic_visit(node)


def _place(node: ast.expr | ast.stmt) -> tuple[object, ...]:
    return type(node), node.lineno, node.col_offset, node.end_lineno, node.end_col_offset
