"""Peppers: made once, read strictly, rotated atomically, never told."""

import errno
import os
from pathlib import Path

import pytest

from nemorouter import _core
from nemorouter.datadir import secrets
from nemorouter.errors import ConfigurationError, RefusedError

A = "aa" * 32
B = "bb" * 32
C = "cc" * 32


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_created_once_private_and_random(tmp_path: Path) -> None:
    path = tmp_path / "pepper"
    made = secrets.create_pepper(path)
    assert secrets.load_peppers(path) == made
    assert path.stat().st_mode & 0o777 == 0o600
    assert [len(secret) for _, secret in made] == [32]
    with pytest.raises(FileExistsError):
        secrets.create_pepper(path)
    assert secrets.load_peppers(path) == made
    assert secrets.create_pepper(tmp_path / "other") != made


def test_a_full_disk_leaves_no_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(ConfigurationError, match="cannot be made: No space left on device"):
            secrets.create_pepper(tmp_path / "pepper")
    assert list(tmp_path.iterdir()) == []
    assert secrets.create_pepper(tmp_path / "pepper")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (f"1 {A[:-1]}", "exactly 64 hex digits"),
        (f"1 {A}0", "exactly 64 hex digits"),
        (f"1 {'g' * 64}", "exactly 64 hex digits"),
        (f"x {A}", "expected `<id> <64 hex digits>`"),
        (f"0 {A}", "expected"),
        (A, "expected"),
        (f"1 {A}\n2 {B}\n3 {C}\n", "holds 3 peppers"),
        (f"1 {A}\n1 {B}\n", "one pepper twice"),
        (f"1 {A}\n2 {A}\n", "one pepper twice"),
        ("\u00fc", "not text of hex digits"),
    ],
)
def test_a_bad_file_is_refused_without_telling_it(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        secrets.load_peppers(write(tmp_path / "pepper", text))
    assert A[:8] not in str(caught.value)


def test_missing_or_readable_by_everybody(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is missing; restore it"):
        secrets.load_peppers(tmp_path / "pepper")
    with pytest.raises(ConfigurationError, match="chmod 600"):
        secrets.load_peppers(write(tmp_path / "pepper", f"1 {A}\n", 0o644))


def test_rotation_keeps_the_old_pepper_until_it_is_retired(tmp_path: Path) -> None:
    path = write(tmp_path / "pepper", f"7 {A}\n")
    rotated = secrets.rotate_pepper(path)
    assert [id for id, _ in rotated] == [8, 7]
    assert secrets.load_peppers(path) == rotated
    with pytest.raises(RefusedError, match="retire the old one first"):
        secrets.rotate_pepper(path)
    assert secrets.retire_pepper(path) == rotated[:1]
    with pytest.raises(RefusedError, match="none to retire"):
        secrets.retire_pepper(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["pepper"]


def test_fingerprint_sees_every_difference() -> None:
    one = (1, bytes(32))
    two = (2, bytes([1]) * 32)
    seen = {
        secrets.fingerprint(peppers)
        for peppers in ([one], [two], [one, two], [two, one], [(2, bytes(32))])
    }
    assert len(seen) == 5
    assert all(len(print) == 32 for print in seen)


def test_marks_tell_peppers_apart() -> None:
    assert secrets.pepper_fingerprint((1, bytes(32))) != secrets.pepper_fingerprint(
        (1, bytes([1]) * 32)
    )
    assert secrets.pepper_fingerprint((1, bytes(32))) != secrets.pepper_fingerprint((2, bytes(32)))


def test_keys_hash_as_in_the_gate() -> None:
    secret = bytes(range(32))
    key = "sk-nemo-" + "aB3" * 6 + "xy"
    assert secrets.hash_key(key, secret) == _core.hash_key(key, secret)


def test_audit_key(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    made = secrets.create_audit_key(path)
    assert secrets.load_audit_key(path) == made
    with pytest.raises(ConfigurationError, match="exactly 64 hex digits"):
        secrets.load_audit_key(write(tmp_path / "short", "ab"))
