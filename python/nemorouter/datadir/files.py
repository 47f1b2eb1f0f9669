"""Write files of a data directory whole or not at all, and explain errors of the file system."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nemorouter.errors import ConfigurationError


def replace_file(path: Path, content: bytes) -> None:
    """Write ``path`` whole or not at all, readable by its owner only."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(
        draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
    )
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    draft.replace(path)


def write_once(path: Path, text: str) -> None:
    """Write a file unless it exists; the first of several writers wins.

    No reader sees half a file.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    replace_file(draft, text.encode())
    try:
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


def mine(path: Path) -> bool:
    """Return whether ``path`` is a regular file of this user; any user may write to tmpfs."""
    found = path.lstat()
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()


def mine_or_free(path: Path) -> bool:
    try:
        return mine(path)
    except FileNotFoundError:
        return True


@contextmanager
def explained(root: Path) -> Iterator[None]:
    """Turn what the file system refuses into a message that says how to mend it."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigurationError(
            f"The data directory {root} is not a directory. Choose another data_dir."
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"The data directory {root} cannot be used ({error.strerror}). "
            "Make it writable for this user, or choose another data_dir."
        ) from error
