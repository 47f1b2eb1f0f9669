"""Help comes at once: it loads nothing that only a command needs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nemorouter
from nemorouter.cli import main
from nemorouter.cli.commands import COMMANDS
from nemorouter.cli.run import run

PACKAGE = str(Path(nemorouter.__file__).parents[1])


def test_help_names_every_command_and_loads_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from nemorouter.cli import main; main(['--help']); print(sorted(sys.modules))"
    )
    env = os.environ | {"PYTHONPATH": PACKAGE}
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    ).stdout
    assert all(f"  {name} " in shown for name in COMMANDS)
    for heavy in ("cyclopts", "rich", "msgspec", "sqlalchemy", "granian", "nemorouter._core"):
        assert f"'{heavy}'" not in shown


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_of_a_command_loads_no_store(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    assert f"Usage: nemorouter {command}" in capsys.readouterr().out


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_answers_as_json_too(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown(*line: str) -> str:
        run([*line, "--help"])
        return capsys.readouterr().out

    overview = shown(command)
    below = re.search(r"^Commands:\n((?:  .*\n)+)", overview, re.M)
    names = re.findall(r"^  ([a-z-]+):", below[1], re.M) if below else []
    assert all(
        "--json" in page for page in ([shown(command, name) for name in names] or [overview])
    )


def test_no_command_loads_the_store_for_its_help(tmp_path: Path) -> None:
    code = (
        "import sys; from nemorouter.cli.commands import COMMANDS; "
        "from nemorouter.cli.run import run\n"
        "for command in COMMANDS: run([command, '--help'])\n"
        "print([name for name in ('sqlalchemy', 'alembic', 'granian', 'nemorouter._core') "
        "if name in sys.modules])"
    )
    env = os.environ | {"PYTHONPATH": PACKAGE}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_main_ends_with_the_code_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["nonsense"])
    assert caught.value.code == 2
    assert 'Unknown command "nonsense"' in capsys.readouterr().err
