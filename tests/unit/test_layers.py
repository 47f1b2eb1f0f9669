"""The shape of the house: imports point downward, files and functions have a size, the public names
are true.
"""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nemorouter

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "nemorouter"
SOURCES = sorted(
    [*PACKAGE.rglob("*.py"), *ROOT.glob("tests/**/*.py"), *ROOT.glob("benches/**/*.py")]
)
RUST = sorted(ROOT.glob("rust/**/*.rs"))
LINES = 400
FUNCTION_LINES = 70
HEAVY = {"sqlalchemy", "aiosqlite", "alembic", "cyclopts", "granian"}


def lint_imports(config: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "lint-imports"
    command = [str(program), "--config", str(config), "--no-cache"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_the_contracts_hold() -> None:
    done = lint_imports(ROOT / "pyproject.toml")
    assert done.returncode == 0, done.stdout


def test_a_broken_contract_is_seen(tmp_path: Path) -> None:
    config = tmp_path / "contract.toml"
    config.write_text(
        """
        [tool.importlinter]
        root_package = "nemorouter"
        [[tool.importlinter.contracts]]
        name = "planted"
        type = "forbidden"
        source_modules = ["nemorouter.gateway"]
        forbidden_modules = ["nemorouter.errors"]
        """,
        "utf-8",
    )
    assert lint_imports(config).returncode == 1


@pytest.mark.parametrize(
    "module",
    [
        "nemorouter.gateway.driver",
        "nemorouter.upstream.client",
        "nemorouter.reference",
        "nemorouter.settings",
    ],
)
def test_the_request_path_loads_nothing_heavy(module: str) -> None:
    program = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    assert not HEAVY & set(loaded)


def test_help_loads_nothing_heavy() -> None:
    program = "import sys; from nemorouter.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stderr
    assert not (HEAVY | {"rich"}) & {name.partition(".")[0] for name in loaded.split()}


def test_public_names_are_sorted_and_true() -> None:
    assert sorted(nemorouter.__all__) == nemorouter.__all__
    for module in [nemorouter, importlib.import_module("nemorouter.reference")]:
        assert all(getattr(module, name) for name in module.__all__)


def test_nothing_inside_imports_from_the_root() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "nemorouter":
                assert not {alias.name for alias in node.names} & set(nemorouter.__all__), path


@pytest.mark.parametrize("path", [*SOURCES, *RUST], ids=lambda path: str(path.relative_to(ROOT)))
def test_files_can_be_held_in_the_head(path: Path) -> None:
    """Rust keeps a module's tests at its end; they are not counted."""
    text = re.split(r"^#\[cfg\((?:all\()?test", path.read_text("utf-8"), maxsplit=1, flags=re.M)[0]
    assert len(text.splitlines()) <= LINES


def test_functions_are_short() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in SOURCES
        if "migrations" not in path.parts  # a migration is a list of tables
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno + 1 > FUNCTION_LINES
    ]
    assert not long


def test_every_package_module_tells_what_it_owns() -> None:
    silent = [
        path
        for path in SOURCES
        if path.read_text("utf-8") and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent
