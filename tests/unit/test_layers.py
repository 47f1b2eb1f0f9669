"""Hold the shape of the sources: sizes of files and functions, public names, imports of tests."""

import ast
import importlib
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import nemorouter
from nemorouter import errors

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "nemorouter"
SOURCES = sorted(
    [*PACKAGE.rglob("*.py"), *ROOT.glob("tests/**/*.py"), *ROOT.glob("benches/**/*.py")]
)
STUBS = sorted(PACKAGE.rglob("*.pyi"))
RUST = sorted([*ROOT.glob("rust/**/*.rs"), *ROOT.glob("benches/**/*.rs")])
LINES = 400
FUNCTION_LINES = 70
STATEMENTS = 40
# A function ends with a brace in the column in which it begins; a declaration without a body ends
# with the semicolon after its parenthesis.
RUST_FUNCTION = re.compile(
    r"^(?P<indent> *)(?:pub(?:\([^)]*\))? |const |async |unsafe |extern \"\w+\" )*fn (?P<name>\w+)"
    r"(?:.*[;}]$|(?s:.*?)^(?P=indent)(?:\}|\).*;)$)",
    re.MULTILINE,
)

LATE = {
    "app": {"cluster.wake": "one machine loads nothing of the cluster"},
    "drainer.thread": {"cluster.agent": "one machine loads nothing of the cluster"},
    "services.transaction.apply": {
        "cluster.membership": "Redis's client, only where there are other hosts",
        "arena": "the native module, only where there may be an arena",
    },
    "services.operations.hosts": {
        "cluster.budgets": "one machine loads nothing of the cluster",
        "cluster.membership.hosts": "one machine loads nothing of the cluster",
        "cluster.membership.member": "one machine loads nothing of the cluster",
        "cluster.membership.propagation": "Redis's client, only where there are other hosts",
    },
    "services.operations.doctor": {"arena": "the native module, only where a server runs"},
    "control.process.bridge": {"control.app": "half a second of imports, in a thread"},
    "control.process.supervisor": {"control.app": "half a second of imports, not for `serve`"},
    "ledger.retain": {"store": "PostgreSQL's driver is an optional package"},
    "store.engine": {
        "store.postgres": "PostgreSQL's driver is an optional package",
        "store.migrate": "Alembic, only when there is work for it",
    },
}
"""Imports inside a function: module, what it imports there, and why it is not at the top.

Only what is heavy or optional may be imported late. The command line is left out: each command
imports what it runs, so that the others start at once.
"""


def late_imports(path: Path) -> set[str]:
    """Modules of the package that the functions of a file import."""
    found: set[str] = set()
    for function in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                names: list[str] = []
                if isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                elif isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                found.update(name for name in names if name.startswith("nemorouter"))
    return found


@pytest.mark.parametrize(
    "path",
    [path for path in PACKAGE.rglob("*.py") if "cli" not in path.relative_to(PACKAGE).parts],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_what_is_imported_late_has_a_reason(path: Path) -> None:
    module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    allowed = {f"nemorouter.{name}" for name in LATE.get(module, {})}
    assert late_imports(path) == allowed


def test_public_names_are_sorted_and_true() -> None:
    for name in ["nemorouter", "nemorouter.gate", "nemorouter.reference"]:
        module = importlib.import_module(name)
        assert sorted(module.__all__) == module.__all__
        assert all(getattr(module, public) for public in module.__all__)


def test_the_tree_of_errors_is_the_one_that_is_drawn() -> None:
    """The drawing in the module's docstring names every exception below its parent."""
    drawn: dict[str, str] = {}
    parents: list[str] = []
    for branches, name in re.findall(
        r"^((?:[│├└]── |│   )*)(\w+Error)\b", errors.__doc__ or "", re.M
    ):
        depth = len(branches) // 4
        parents[depth:] = [name]
        drawn[name] = parents[depth - 1] if depth else "Exception"
    real = {
        kind.__name__: kind.__bases__[0].__name__
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert drawn == real


def test_nothing_inside_imports_from_the_root() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "nemorouter":
                assert not {alias.name for alias in node.names} & set(nemorouter.__all__), path


@pytest.mark.parametrize(
    "path",
    [*SOURCES, *RUST, *STUBS],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_files_can_be_held_in_the_head(path: Path) -> None:
    """Rust keeps a module's tests at its end; they are not counted."""
    text = re.split(r"^#\[cfg\((?:all\()?test", path.read_text("utf-8"), maxsplit=1, flags=re.M)[0]
    assert len(text.splitlines()) <= LINES


def statements(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the statements of a function and of all functions in it; a docstring is none."""
    found = [node for node in ast.walk(function) if isinstance(node, ast.stmt)]
    documented = [
        node
        for node in found
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and ast.get_docstring(node, clean=False) is not None
    ]
    return len(found) - 1 - len(documented)


def test_functions_are_short() -> None:
    long = []
    for path in SOURCES:
        if "migrations" in path.parts:  # a migration is a list of tables
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES or statements(node) > STATEMENTS:
                    place = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
                    long.append(f"{place}: {lines} lines, {statements(node)} statements")
    assert not long


def crowded_assignments(source: str) -> list[int]:
    """Return the lines that make several assignments and unpack nothing.

    An exchange of values, as in ``a, b = b, a``, needs one statement and is left out.
    """
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign)
        and (len(node.targets) > 1 or (_is_paired(node) and not _exchanges(node)))
    ]


def _is_paired(node: ast.Assign) -> bool:
    target = node.targets[0]
    if not isinstance(target, ast.Tuple) or not isinstance(node.value, ast.Tuple):
        return False
    return not any(isinstance(item, ast.Starred) for item in (*target.elts, *node.value.elts))


def _exchanges(node: ast.Assign) -> bool:
    """Return whether an earlier target is used in a later value."""
    targets = node.targets[0]
    assert isinstance(targets, ast.Tuple)
    assert isinstance(node.value, ast.Tuple)
    names = [ast.unparse(target) for target in targets.elts]
    return any(
        ast.unparse(part) in names[:place]
        for place, value in enumerate(node.value.elts)
        for part in ast.walk(value)
        if isinstance(part, ast.Name | ast.Attribute | ast.Subscript)
    )


def test_one_assignment_stands_on_a_line() -> None:
    folders = (PACKAGE, ROOT / "tests", ROOT / "benches")
    crowded = {
        str(path.relative_to(ROOT)): lines
        for folder in folders
        for path in folder.rglob("*.py")
        if (lines := crowded_assignments(path.read_text("utf-8")))
    }
    assert crowded == {}


@pytest.mark.parametrize(
    ("source", "crowded"),
    [
        ("a, b = 1, 2", True),
        ("self.a, b = b, 2", True),
        ("a = b = 1", True),
        ("a, b = b, a", False),
        ("a, b = pair", False),
        ("a, *b = 1, 2", False),
        ("a = 1", False),
    ],
)
def test_crowded_assignments_are_told_from_unpacking(source: str, crowded: bool) -> None:
    assert crowded_assignments(source) == ([1] if crowded else [])


def test_statements_are_counted_with_those_of_inner_functions() -> None:
    source = """
def outer(xs):
    "Not a statement."
    for x in xs:
        if x: yield x; print(x)

    def inner():
        "Not a statement either."
        return 1
"""
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    assert statements(function) == 6


def rust_functions(text: str) -> Iterator[tuple[str, int]]:
    """Yield name and number of lines of each function in a source that rustfmt has formatted."""
    for function in RUST_FUNCTION.finditer(text):
        yield function["name"], function[0].count("\n") + 1


def test_rust_functions_are_short() -> None:
    long = [
        f"{path.relative_to(ROOT)} {name}: {length} lines"
        for path in RUST
        for name, length in rust_functions(path.read_text("utf-8"))
        if length > FUNCTION_LINES
    ]
    assert not long


def test_lines_of_rust_functions_are_counted() -> None:
    source = """
impl A {
    pub(crate) const fn one() -> u8 { 1 }

    unsafe fn declared(
        a: u8,
    ) -> u8;

    pub fn three<T>(&self) -> u8 {
        if true { 1 } else { 2 }
    }
}

extern "Rust" fn seven(
    a: u8,
) where
    u8: Copy,
{
    a;
}
"""
    assert list(rust_functions(source)) == [
        ("one", 1),
        ("declared", 3),
        ("three", 3),
        ("seven", 7),
    ]


def test_every_package_module_tells_what_it_owns() -> None:
    silent = [
        path
        for path in SOURCES
        if path.read_text("utf-8") and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


def test_a_unit_test_that_starts_a_process_or_connects_fails() -> None:
    with pytest.raises(AssertionError, match=r"subprocess\.Popen"):
        subprocess.run(["true"], check=True)
    with socket.socket() as client, pytest.raises(AssertionError, match=r"socket\.connect"):
        client.connect(("127.0.0.1", 9))


def test_no_test_imports_from_another() -> None:
    """Require that what two test files need lies in ``tests/support``.

    A ``conftest`` serves its folder.
    """
    for path in ROOT.glob("tests/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and "tests." in node.module:
                last = node.module.rpartition(".")[2]
                assert not last.startswith("test_"), path


def test_a_class_name_has_one_meaning() -> None:
    """Mirrors of the native module in ``reference`` are the same things, and excepted."""
    homes: dict[str, set[str]] = {}
    for path in [*PACKAGE.rglob("*.py"), *STUBS]:
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if module.startswith("reference."):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, set()).add(module)
    doubles = {name: found - {"_core"} for name, found in homes.items() if len(found) > 1}
    assert doubles == {}
