"""Test that the commands of the documents do what the documents say."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

from nemorouter.cli.commands import COMMANDS
from tests.support.documents import BLOCKS, DOCUMENTS, EXAMPLES, REFERENCE, ROOT, SERVERS

BIN = Path(sys.executable).parent


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_told(name: str) -> None:
    overview = nemorouter(name, "--help").stdout
    below = re.search(r"^Commands:\n((?:  .*\n)+)", overview, re.M)
    names = re.findall(r"^  ([a-z-]+):", below[1], re.M) if below else []
    assert all(
        f"`nemorouter {name} {each}`" in REFERENCE or f"`{name} {each}`" in REFERENCE
        for each in names
    ), names
    assert f"`nemorouter {name}" in REFERENCE


def test_every_verb_has_its_help() -> None:
    verbs = subprocess.run(
        ["make", "-C", ROOT, "help"], check=True, capture_output=True, text=True
    ).stdout
    told = set(
        re.findall(r"`make ([a-z-]+)", "".join(path.read_text("utf-8") for path in DOCUMENTS))
    )
    assert told <= set(re.findall(r"make ([a-z-]+)", verbs))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with the README's examples and a data directory that was set up as it says."""
    folder = tmp_path_factory.mktemp("readme")
    for name, text in EXAMPLES.items():
        (folder / name).write_text(text, "utf-8")
    nemorouter("init", "--org", "Reef", "--email", "nemo@example.org", cwd=folder)
    return folder


def test_the_readme_s_commands_run(home: Path) -> None:
    (commands,) = [block.text for block in BLOCKS if "keys create" in block.text]
    for line in commands.splitlines():
        words = [word.strip("'") for word in line.split()]
        if words[-1] != "--follow":
            nemorouter(*words[1:], cwd=home)
    assert (
        json.loads(nemorouter("keys", "list", "--json", cwd=home).stdout)["data"][0]["status"]
        == "revoked"
    )


@pytest.mark.parametrize("command", SERVERS)
def test_the_readme_s_servers_answer(home: Path, command: str) -> None:
    created = nemorouter("keys", "create", "--name", f"k{time.time_ns()}", "--json", cwd=home)
    key = json.loads(created.stdout)["key"]
    with serving(command, home) as url:
        if "guarded_fastapi" in command:
            answer = call(f"{url}/v1/summaries", key, b"{}")
            assert set(answer) == {"for", "request"}
        elif "guarded_starlette" in command:
            assert call(f"{url}/v1/hello", key) == {"hello": f"sk-...{key[-4:]}"}
        else:
            env = {"NEMO_URL": f"{url}/v1", "NEMOROUTER_API_KEY": key}
            client = subprocess.run(
                [sys.executable, "client.py"],
                cwd=home,
                env=os.environ | env,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert client.stdout == "Hello, Nemo!\n", client.stderr
        with pytest.raises(HTTPError, match="401"):
            call(f"{url}/v1/models", "sk-nemo-" + "x" * 20)


def nemorouter(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the command line; a failure shows what it said."""
    env = os.environ | {"COLUMNS": "200"}
    done = subprocess.run(
        [BIN / "nemorouter", *arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done


def call(url: str, key: str, body: bytes | None = None) -> dict[str, str]:
    """Return the JSON answer to a request with a key."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    with urlopen(Request(url, body, headers), timeout=30) as answer:
        found: dict[str, str] = json.load(answer)
        return found


@contextmanager
def serving(command: str, folder: Path) -> Iterator[str]:
    """Run a server of the README on a free port until the test is over."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program, *arguments = command.replace("$PORT", str(port)).split()
    with (folder / f"{port}.log").open("w") as log:
        # uvicorn finds an app in its own folder; Granian in the working directory.
        server = subprocess.Popen([BIN / program, *arguments], cwd=folder, stdout=log, stderr=log)
        try:
            wait_for(f"http://127.0.0.1:{port}/healthz", server, folder / f"{port}.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(30)


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Until somebody answers HTTP, whatever it is."""
    until = time.monotonic() + 30
    while time.monotonic() < until and server.poll() is None:
        try:
            urlopen(url, timeout=5).close()
        except HTTPError:
            return
        except (URLError, ConnectionError):
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"The server did not come up:\n{log.read_text('utf-8')}")
