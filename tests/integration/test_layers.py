"""Import contracts, as their linter and the interpreter see them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
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
    program = (
        "import sys; from nemorouter.cli import main; main(['--help']); "
        "print(*sys.modules, file=sys.stderr)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stderr
    assert not (HEAVY | {"rich"}) & {name.partition(".")[0] for name in loaded.split()}
