"""The data directory: who may enter, what lies where, and locks that mean what they say."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from nemorouter.datadir.locks import Flock, locked
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.status import boot_id
from nemorouter.errors import ConfigurationError


def test_prepare_makes_a_private_directory_once(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "deep" / "data").prepare()
    assert data.root.stat().st_mode & 0o777 == 0o700
    host = data.host_id()
    assert len(bytes.fromhex(host)) == 32
    assert DataDir(data.root).prepare().host_id() == host
    assert sorted(path.name for path in data.root.iterdir()) == ["host-id", "journal"]


def test_an_open_directory_is_closed_to_others(tmp_path: Path) -> None:
    root = tmp_path / "mounted"
    root.mkdir(mode=0o755)
    DataDir(root).prepare()
    assert root.stat().st_mode & 0o777 == 0o700


def test_a_foreign_directory_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"thesis\.tex"):
        DataDir(tmp_path).prepare()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_directory_with_only_our_files_is_taken(tmp_path: Path) -> None:
    (tmp_path / "pepper").write_text("")
    (tmp_path / "nemorouter.toml").write_text("")
    assert DataDir(tmp_path).prepare().host_id()


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(ConfigurationError, match="not a directory"):
        DataDir(tmp_path / "data").prepare()


def test_a_directory_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="cannot be used"):
        DataDir(Path("/proc/nemorouter")).prepare()


def test_a_damaged_host_id_is_named(tmp_path: Path) -> None:
    data = DataDir(tmp_path).prepare()
    data.host_id_file.write_text("short")
    with pytest.raises(ConfigurationError, match="damaged"):
        data.host_id()


def test_exclusive_lock_excludes_and_shared_locks_share(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    first = Flock.attempt(path)
    assert first is not None
    assert Flock.attempt(path) is None
    assert Flock.attempt(path, shared=True) is None
    first.release()
    first.release()
    with (
        Flock.attempt(path, shared=True) or pytest.fail("free"),
        Flock.attempt(path, shared=True) or pytest.fail("shared"),
    ):
        assert Flock.attempt(path) is None
    assert Flock.attempt(path) is not None


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    script = (
        "import sys,pathlib\nfrom nemorouter.datadir.locks import Flock\n"
        f"lock = Flock.attempt(pathlib.Path({str(path)!r}))\nprint('held', flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        assert Flock.attempt(path) is None
        child.kill()
    assert Flock.attempt(path) is not None


def test_a_forked_child_holds_no_lock(tmp_path: Path) -> None:
    script = (
        "import os,sys,pathlib\nfrom nemorouter.datadir.locks import Flock\n"
        "lock = Flock.attempt(pathlib.Path(sys.argv[1]))\nchild = os.fork()\n"
        "if not child:\n    print(lock.held, flush=True)\n    sys.stdin.read()\n    os._exit(0)\n"
        "os._exit(0)"
    )
    path = tmp_path / "x.lock"
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "False\n"
        assert parent.wait() == 0
        assert Flock.attempt(path) is not None


async def _wait_and_take(path: Path) -> list[str]:
    told: list[str] = []

    async def other() -> None:
        async with locked(path):
            told.append("other")

    async with locked(path):
        task = asyncio.create_task(other())
        await asyncio.sleep(0.01)
        told.append("first")
    await task
    return told


def test_waiting_for_a_lock_lets_its_holder_go_on(tmp_path: Path) -> None:
    assert asyncio.run(_wait_and_take(tmp_path / "x.lock")) == ["first", "other"]


def test_a_lock_that_stays_taken_is_an_error(tmp_path: Path) -> None:
    async def wait() -> None:
        async with locked(tmp_path / "x.lock", deadline_s=0.01):
            pytest.fail("taken twice")

    with (
        Flock.attempt(tmp_path / "x.lock") or pytest.fail("free"),
        pytest.raises(ConfigurationError, match="holds"),
    ):
        asyncio.run(wait())


def test_the_arena_goes_to_tmpfs_only_when_it_has_room(tmp_path: Path) -> None:
    data = DataDir(tmp_path).prepare()
    assert data.arena_path(capacity=1 << 50, scopes=1) == tmp_path / "arena"
    small = data.arena_path(capacity=64, scopes=1)
    assert small.parent in (Path("/dev/shm"), tmp_path)
    assert small == DataDir(tmp_path / ".").arena_path(capacity=64, scopes=1)


def test_the_note_holds_for_this_boot_and_this_user_only(tmp_path: Path) -> None:
    data = DataDir(tmp_path).prepare()
    assert data.note() is None
    arena = tmp_path / "arena"
    arena.write_bytes(b"")
    data.write_note(arena, bytes(32))
    note = data.note()
    assert note is not None
    assert (note.boot, note.path, note.identity) == (boot_id(), str(arena), "00" * 32)
    data.note_file.write_bytes(
        data.note_file.read_bytes().replace(boot_id().encode(), b"another-boot")
    )
    assert data.note() is None
    data.write_note(arena, bytes(32))
    arena.unlink()
    (tmp_path / "elsewhere").write_bytes(b"")
    arena.symlink_to(tmp_path / "elsewhere")
    assert data.note() is None
    data.note_file.write_text("{torn")
    assert data.note() is None


def test_journals_are_listed_by_name(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    assert data.journal_paths() == []
    data.prepare()
    for name in ("b.journal", "a.journal", "a.new"):
        (data.journals / name).touch()
    assert [path.name for path in data.journal_paths()] == ["a.journal", "b.journal"]
    assert data.journals.stat().st_mode & 0o777 == 0o700
