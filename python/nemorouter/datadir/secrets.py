"""Server secrets in files: the peppers under which keys are hashed, and the key of the audit chain.

A file is made once and never overwritten by a start. No message here ever holds a part of a secret.
"""

import os
import resource
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from blake3 import blake3

from nemorouter.errors import ConfigurationError, RefusedError

MAX_PEPPERS: Final = 2
_BYTES: Final = 32
_DUMPED: Final = Path("/proc/self/coredump_filter")
_HEX: Final = frozenset("0123456789abcdef")

Pepper = tuple[int, bytes]
"""Id (1, 2, ...) and 32 secret bytes. The current one, under which new keys are hashed, comes
first.
"""


def hash_key(key: str, pepper: bytes) -> bytes:
    """Return the 32-byte digest under which a key is stored: keyed BLAKE3, as in the gate."""
    return blake3(key.encode(), key=pepper).digest()


def stay_out_of_core_dumps() -> None:
    """Keep the memory of this process, and of its children, out of core dumps: it has secrets."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # a pipe gets its dump whatever the limit says
        _DUMPED.write_text("0", "ascii")


def load_peppers(path: Path) -> list[Pepper]:
    """Read the one or two peppers of the file at ``path``.

    ConfigurationError: it is missing, readable by other users, or holds short, equal or too many
    peppers.
    """
    peppers: list[Pepper] = []
    for number, line in enumerate(_read(path, "pepper").splitlines(), 1):
        id, _, digits = line.strip().partition(" ")
        if not (id.isascii() and id.isdecimal() and 0 < int(id) < 1 << 31):
            raise ConfigurationError(
                f"The pepper file {path}, line {number}: expected `<id> <64 hex digits>`."
            )
        if len(digits) != 2 * _BYTES or not set(digits) <= _HEX:
            raise ConfigurationError(
                f"The pepper file {path}, line {number}: a pepper has exactly 64 hex digits."
            )
        peppers.append((int(id), bytes.fromhex(digits)))
    if not peppers:
        raise ConfigurationError(f"The pepper file {path} is empty; restore it from a backup.")
    if len(peppers) > MAX_PEPPERS:
        raise ConfigurationError(
            f"The pepper file {path} holds {len(peppers)} peppers; at most two may be valid."
        )
    if len({id for id, _ in peppers}) != len(peppers) or len(
        {secret for _, secret in peppers}
    ) != len(peppers):
        raise ConfigurationError(f"The pepper file {path} names one pepper twice.")
    return peppers


def create_pepper(path: Path) -> list[Pepper]:
    """Make the first pepper of a new store; FileExistsError if the file is there."""
    peppers = [(1, secrets.token_bytes(_BYTES))]
    _write_new(path, _lines(peppers))
    return peppers


def rotate_pepper(path: Path) -> list[Pepper]:
    """Put a fresh pepper first; keys under the one before stay valid until that is retired.

    Servers read the file when they start.
    """
    peppers = load_peppers(path)
    if len(peppers) == MAX_PEPPERS:
        raise RefusedError("Two peppers are valid already; retire the old one first.")
    return _replace(
        path, [(max(id for id, _ in peppers) + 1, secrets.token_bytes(_BYTES)), *peppers]
    )


def retire_pepper(path: Path) -> list[Pepper]:
    """Drop the old pepper: keys made under it stop working when the servers restart."""
    peppers = load_peppers(path)
    if len(peppers) == 1:
        raise RefusedError("Only one pepper is valid; there is none to retire.")
    return _replace(path, peppers[:1])


def fingerprint(peppers: Sequence[Pepper]) -> bytes:
    """Return 32 bytes that change with any pepper, its id or the order, and reveal none of them.

    They are part of the arena's identity.
    """
    return blake3(b"nemorouter peppers\0" + _lines(peppers).encode()).digest()


def pepper_fingerprint(pepper: Pepper) -> str:
    """Return the keyed hash of a pepper's id, by which the store recognises a wrong pepper."""
    return blake3(b"nemorouter pepper %d" % pepper[0], key=pepper[1]).hexdigest()


def load_audit_key(path: Path) -> bytes:
    """Read the key of the audit chain, which no rotation of the peppers changes."""
    digits = _read(path, "audit key").strip()
    if len(digits) != 2 * _BYTES or not set(digits) <= _HEX:
        raise ConfigurationError(f"The audit key file {path} must hold exactly 64 hex digits.")
    return bytes.fromhex(digits)


def create_audit_key(path: Path) -> bytes:
    key = secrets.token_bytes(_BYTES)
    _write_new(path, key.hex() + "\n")
    return key


def _lines(peppers: Sequence[Pepper]) -> str:
    return "".join(f"{id} {secret.hex()}\n" for id, secret in peppers)


def _read(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o007:
                raise ConfigurationError(
                    f"The {what} file {path} is readable by everybody; run `chmod 600 {path}`."
                )
            return file.read(4096).decode("ascii")
    except FileNotFoundError:
        raise ConfigurationError(
            f"The {what} file {path} is missing; restore it from a backup."
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"The {what} file {path} is not text of hex digits.") from None
    except OSError as error:
        raise ConfigurationError(
            f"The {what} file {path} cannot be read: {error.strerror}."
        ) from error


def _write_new(path: Path, text: str) -> None:
    """Whole or not at all, also on a disk that is full; FileExistsError if the file is there."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(file, "w") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            os.link(draft, path)
        finally:
            draft.unlink()
    except FileExistsError:
        raise
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be made: {error.strerror}.") from error
    _sync_directory(path)


def _replace(path: Path, peppers: list[Pepper]) -> list[Pepper]:
    """Atomically: a crash leaves the old file or the new one."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    _write_new(fresh, _lines(peppers))
    fresh.replace(path)
    _sync_directory(path)
    return peppers


def _sync_directory(path: Path) -> None:
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
