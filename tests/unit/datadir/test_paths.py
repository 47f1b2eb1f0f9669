"""The data directory: who may enter, what lies where, and locks that mean what they say."""

from pathlib import Path

import pytest

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


def test_every_path_of_a_directory_is_its_own(tmp_path: Path) -> None:
    """So that a directory without its ``host-id`` is known again, whatever it holds."""
    data = DataDir(tmp_path)
    for path in vars(data).values():
        if path != data.root:
            path.write_text("")
    data.host_id_file.unlink()
    data.journals.unlink()
    assert data.prepare().host_id()
