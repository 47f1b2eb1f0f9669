"""Test the command line as a shell sees it: output, exit codes, one line for a mistake.

Nothing of it acts on a terminal.
"""

import asyncio
import json
import os
import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import update

from nemorouter.cli.output import inert
from nemorouter.settings import Settings
from nemorouter.store.engine import Store
from nemorouter.store.schema import SCHEMA_VERSION, keys, teams
from tests.support.shell import PACKAGE, PROGRAM, Shell, each_store, nemo


def test_end_to_end(tmp_path: Path) -> None:
    """From nothing to a revoked key, as a script would do it."""
    done = nemo(
        tmp_path,
        "init",
        "--org",
        "Acme",
        "--email",
        "a@b.c",
        "--password-stdin",
        given="correct horse\n",
    )
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert re.fullmatch(r"mk-nemo-[A-Za-z0-9]{32}\n", done.stdout)
    done = nemo(
        tmp_path,
        "keys",
        "create",
        "--name",
        "ci",
        "--budget",
        "50",
        "--duration",
        "monthly",
        "--rpm",
        "600",
    )
    assert done.returncode == 0
    assert re.fullmatch(r"sk-nemo-[A-Za-z0-9]{20}\n", done.stdout)
    key = done.stdout.strip()
    listed = json.loads(nemo(tmp_path, "keys", "list", "--json").stdout)
    assert [(one["name"], one["rpm"], one["budget"]["max_spend"]) for one in listed["data"]] == [
        ("ci", 600, "50.00")
    ]
    done = nemo(tmp_path, "keys", "revoke", "ci")
    assert (done.returncode, "revoked" in done.stdout) == (0, True)
    done = nemo(tmp_path, "keys", "show", "nobody")
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        "nemorouter: There is no key 'nobody'.\n",
    )
    with closing(sqlite3.connect(tmp_path / "nemo-data" / "nemorouter.db")) as db:
        (password,) = db.execute("SELECT password_hash FROM users").fetchone()
        assert password.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    for path in (tmp_path / "nemo-data").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert key.encode()[8:] not in content
            assert b"correct horse" not in content


@each_store
def test_what_a_key_may_is_set_and_lifted(shell: Shell) -> None:
    options = [
        "--rpm",
        "60",
        "--rpm-burst",
        "6",
        "--tpm",
        "9",
        "--models",
        "gpt-*, o3",
        "--ips",
        "10.0.0.0/8,::1",
    ]
    options += [
        "--endpoints",
        "embeddings",
        "--expires",
        "30d",
        "--team",
        "Default",
        "--budget",
        "0.25",
    ]
    made = shell.json("keys", "create", "--name", "n", *options)
    assert (made["rpm"], made["rpm_burst"], made["tpm"]) == (60, 6, 9)
    assert made["allowed_models"] == ["gpt-*", "o3"]
    assert made["allowed_ips"] == ["10.0.0.0/8", "::1/128"]
    assert made["allowed_endpoints"] == ["embeddings"]
    assert made["budget"]["max_spend"] == "0.25"
    assert made["expires_at"]
    lifted = [
        "--rpm",
        "unlimited",
        "--models",
        "all",
        "--ips",
        "all",
        "--endpoints",
        "all",
        "--expires",
        "never",
    ]
    view = shell.json("keys", "update", "n", *lifted, "--budget", "none", "--name", "m")
    assert "key" not in view
    assert (view["name"], view["rpm"], view["rpm_burst"], view["tpm"]) == ("m", None, 6, 9)
    assert (view["allowed_models"], view["allowed_ips"], view["allowed_endpoints"]) == ([], [], [])
    assert (view["budget"], view["expires_at"]) == (None, None)
    assert shell.json("keys", "duplicate", "m")["name"] == "m (copy)"
    assert (
        shell.json("keys", "list", "--q", "copy", "--limit", "1")["data"][0]["name"] == "m (copy)"
    )


@each_store
def test_teams_members_budgets_prices(shell: Shell) -> None:
    assert shell.json("teams", "create", "--name", "T", "--tpm", "5")["tpm"] == 5
    assert shell.json("teams", "update", "T", "--status", "disabled")["status"] == "disabled"
    assert [one["name"] for one in shell.json("teams", "list")["data"]] == ["Default", "T"]
    assert shell.json("members", "add", "--email", "x@y.z", "--role", "viewer")["name"] == "x"
    assert shell.json("members", "update", "x@y.z", "--rpm", "0")["rpm"] == 0
    assert len(shell.json("members", "list")["data"]) == 2
    assert re.search(r"x@y\.z +viewer +active", shell("members", "list")[1])
    shell.json("keys", "create", "--name", "k")
    for whose in (["--key", "k"], ["--team", "T"], ["--user", "x@y.z"], ["--org"]):
        assert (
            shell.json("budgets", "set", "10", "--duration", "weekly", *whose)["budget"]["duration"]
            == "weekly"
        )
    assert len(shell.json("budgets", "list")["data"]) == 4
    assert shell.json("budgets", "clear", "--org") == {"cleared": True}
    assert shell.json("prices", "set", "m", "--input", "0.5", "--output", "1")["input"] == "0.5"
    assert "m" in [one["model"] for one in shell.json("prices", "list")["data"]]
    assert shell.json("prices", "delete", "m") == {"model": "m", "deleted": True}
    assert "m" not in [one["model"] for one in shell.json("prices", "list")["data"]]
    assert shell.json("prices", "import") == {"changed": 0}


@each_store
def test_reports_and_upkeep(shell: Shell) -> None:
    assert shell.json("usage", "--by", "model") == {"data": []}
    assert shell.json("logs") == {"data": [], "next_cursor": None}
    assert shell.json("db", "status")["current"] is True
    assert shell.json("db", "upgrade")["after"] == SCHEMA_VERSION
    assert shell.json("keys", "rotate-pepper") == {"peppers": [2, 1]}
    assert shell.json("keys", "rotate-pepper", "--retire") == {"peppers": [2]}
    assert shell.json("audit", "verify")["broken_at"] is None


def test_an_edited_audit_log_fails(shell: Shell, place: Path) -> None:
    with closing(sqlite3.connect(place / "nemo-data" / "nemorouter.db")) as db, db:
        db.execute("UPDATE audit SET actor = 'x' WHERE seq = 2")
    code, out, err = shell("audit", "verify")
    assert (code, out, err) == (
        1,
        "",
        "nemorouter: The audit log is broken at event 2: an event was changed.\n",
    )


MISTAKES = [
    (2, "keys frobnicate", "Unknown command"),
    (2, "keys create", "--name"),
    (2, "keys list --limit many", "--limit"),
    (2, "keys create --name x --rpm much", "--rpm must be a whole number, or unlimited"),
    (2, "keys create --name x --rpm 2,5", "--rpm must be a whole number, or unlimited"),
    (1, "keys create --name x --budget 2,5", "1,234.56"),
    (1, "prices set x --input 2,5", "1,234.56"),
    (1, "keys create --name \u202egpj.exe", "not seen"),
    (2, "keys create --name x --duration daily", "give --budget too"),
    (2, "budgets set 10", "exactly one of --key"),
    (2, "budgets set 10 --org --team T", "exactly one of --key"),
    (1, "keys create --name x --rpm 99999999999", "rpm must be between 0 and"),
    (1, "keys create --name x --budget -5", "not negative"),
    (1, "keys create --name x --budget 10000001", "at most 10,000,000 USD"),
    (1, "keys create --name x --budget 5 --duration yearly", "duration must be one of"),
    (1, "keys create --name x --team nobody", "There is no team 'nobody'"),
    (1, "keys create --name x --ips 10.0.0.1/8", "without host bits"),
    (1, "keys create --name x --endpoints files", "choose from"),
    (1, "keys create --name x --expires 2020-01-01", "must lie in the future"),
    (1, "keys create --name \x1b[31mred", "control characters"),
    (1, "keys show key_0000000000000", "There is no key"),
    (1, "keys list --cursor x", "cursor"),
    (1, "prices set x --input 0.1234567891", "more than 9 decimals"),
    (1, "prices import nowhere.toml", "cannot be read"),
    (1, "usage --since tomorrow", "since must be a day"),
    (1, "logs --outcome great", "outcome must be one of"),
    (1, "init --org Again --email a@b.c", "set up already"),
    (1, "keys list --data-dir elsewhere", "run `nemorouter init` or `nemorouter serve` first"),
    (1, "keys list --config nowhere.toml", "does not exist"),
    (1, "serve --port 99999", "port must be between 1 and 65535"),
    (1, "serve --durability never", "durability"),
]


@pytest.mark.parametrize(
    ("code", "line", "reason"), MISTAKES, ids=[line for _, line, _ in MISTAKES]
)
def test_a_mistake_is_one_line(code: int, line: str, reason: str, shell: Shell) -> None:
    found, out, err = shell(*line.split(" "))
    assert found == code
    assert out == ""
    assert reason in err
    assert err.startswith("nemorouter: ")
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert "Traceback" not in err


def test_a_misspelt_setting_refuses(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEMOROUTER_WORKER", "1")
    assert shell("keys", "list") == (
        1,
        "",
        "nemorouter: Unknown setting NEMOROUTER_WORKER. Did you mean NEMOROUTER_WORKERS?\n",
    )


def test_a_broken_store_is_one_line(shell: Shell, place: Path) -> None:
    store = place / "nemo-data" / "nemorouter.db"
    for content in (b"notes" * 1000, b""):
        store.write_bytes(content)
        for path in (store.with_name("nemorouter.db-wal"), store.with_name("nemorouter.db-shm")):
            path.unlink(missing_ok=True)
        code, _, err = shell("keys", "list")
        assert (code, err.count("\n")) == (1, 1)
        assert shell("db", "status")[0] == 1


def test_a_missing_pepper_is_one_line(shell: Shell, place: Path) -> None:
    (place / "nemo-data" / "pepper").unlink()
    code, _, err = shell("keys", "create", "--name", "x")
    assert code == 1
    assert re.fullmatch(
        r"nemorouter: The pepper file \S+ is missing; restore it from a backup\.\n", err
    )


@each_store
def test_stored_text_is_inert(shell: Shell) -> None:
    evil = "[red]x[/red] \u202e\u200b :smile: =1+1"
    shell.json("keys", "create", "--name", "x")
    shell.json("teams", "create", "--name", "y")

    async def rename() -> None:
        """Store names as they were before the program refused them."""
        store = await Store.open(Settings.load(), migrate=False)
        async with store.begin() as connection:
            await connection.execute(update(keys).where(keys.c.name == "x").values(name=evil))
            await connection.execute(update(teams).where(teams.c.name == "y").values(name=evil))
        await store.close()

    asyncio.run(rename())
    for command in (["keys", "list"], ["keys", "show", evil], ["teams", "list"]):
        _, out, _ = shell(*command)
        assert "[red]x[/red] \\u202e\\u200b :smile: =1+1" in out
        assert "\u202e" not in out


def test_inert_spells_what_a_terminal_obeys() -> None:
    assert (
        inert("a\x1b[31m\r\n\x9b\u2066\U000e0001é漢")
        == "a\\x1b[31m\\x0d\\x0a\\x9b\\u2066\\U000e0001é漢"
    )


def test_a_reader_that_leaves_is_no_error(place: Path) -> None:
    command = f"{PROGRAM[0]} -c '{PROGRAM[2]}' prices list | head -1"
    env = os.environ | {"PYTHONPATH": PACKAGE}
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=place, capture_output=True, text=True, check=True, env=env
    )
    assert (done.stdout.split()[0], done.stderr) == ("MODEL", "")


def test_short_passwords_are_refused(tmp_path: Path) -> None:
    done = nemo(
        tmp_path, "init", "--org", "A", "--email", "a@b.c", "--password-stdin", given="short\n"
    )
    assert (done.returncode, done.stderr) == (
        1,
        "nemorouter: The password must have 8 to 1024 characters.\n",
    )
    assert not (tmp_path / "nemo-data").exists()
