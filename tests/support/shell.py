"""Run commands as a shell does, on a data directory after ``init``, in SQLite and PostgreSQL."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nemorouter
from nemorouter.cli.run import run
from tests.support.postgres_server import PostgresServer

PACKAGE = str(Path(nemorouter.__file__).parents[1])
PROGRAM = [sys.executable, "-c", "from nemorouter.cli import main; main()"]


def nemo(cwd: Path, *arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    """Run the program in ``cwd``, in a process of its own."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("NEMOROUTER_")}
    return subprocess.run(
        [*PROGRAM, *arguments],
        cwd=cwd,
        input=given,
        capture_output=True,
        text=True,
        check=False,
        env=env | {"PYTHONPATH": PACKAGE},
        timeout=30,
    )


@pytest.fixture(scope="module")
def shell_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a data directory with ``init``."""
    path = tmp_path_factory.mktemp("cli") / "nemo-data"
    assert (
        run(["init", "--org", "Acme", "--email", "owner@acme.test", "--data-dir", str(path)]) == 0
    )
    return path


@pytest.fixture(scope="module")
def shell_postgres(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """Make an installation with its store in PostgreSQL; return its folder and that database."""
    folder = tmp_path_factory.mktemp("cli")
    url = postgres.database()
    config = folder / "nemorouter.toml"
    config.write_text(f'database_url = "{url}"')
    line = [
        "init",
        "--org",
        "Acme",
        "--email",
        "owner@acme.test",
        "--data-dir",
        str(folder / "nemo-data"),
    ]
    assert run([*line, "--config", str(config)]) == 0
    return folder / "nemo-data", url.rpartition("/")[2]


@pytest.fixture
def shell_store(request: pytest.FixtureRequest) -> str:
    """SQLite, where a test does not ask for each kind."""
    kind: str = getattr(request, "param", "sqlite")
    return kind


@pytest.fixture
def place(
    shell_store: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Path]:
    """Enter a working directory with a set-up ``nemo-data``."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("NEMOROUTER_"):
            monkeypatch.delenv(name)
    if shell_store == "sqlite":
        shutil.copytree(request.getfixturevalue("shell_template"), tmp_path / "nemo-data")
        yield tmp_path
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    folder, database = request.getfixturevalue("shell_postgres")
    shutil.copytree(folder, tmp_path / "nemo-data")
    url = server.database(database)
    (tmp_path / "nemorouter.toml").write_text(f'database_url = "{url}"')
    yield tmp_path
    server.drop(url)


each_store = pytest.mark.parametrize("shell_store", ["sqlite", "postgresql"], indirect=True)


class Shell:
    """Runs commands in this process, which is quicker, and reads what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self._capsys.readouterr()
        code = run(list(arguments))
        out, err = self._capsys.readouterr()
        return code, out, err

    def json(self, *arguments: str) -> Any:
        code, out, err = self(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
def shell(place: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)
