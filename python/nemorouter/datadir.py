"""Paths, locks and identity of a data directory.

Owns what lies where, who may enter, and the file locks by which processes agree. It must never read
or write what the files hold, but for ``host-id`` and the note that says where the live arena is.
"""

import asyncio
import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final, Self
from weakref import WeakSet

import msgspec
from blake3 import blake3

from nemorouter.errors import ConfigurationError

_TMPFS: Final = Path("/dev/shm")  # noqa: S108 - a mapped file needs memory; its owner and identity are checked
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_OURS: Final = (
    *(
        "nemorouter",
        "pepper",
        "host-id",
        "journal",
        "arena",
        "recount",
        "counters",
        "drainer",
        "policy",
        "serve",
    ),
    *("agent", ".", "lost+"),
)
"""How the names begin that a data directory may hold before it has a ``host-id``."""
_BYTES_A_SCOPE: Final = 512  # record, its share of the allow-lists, and headroom
_BYTES_A_PLACE: Final = 16  # digest table, for each scope of the capacity
_BYTES_FIXED: Final = 8 << 20


class ArenaNote(msgspec.Struct, frozen=True):
    """Where the arena of this machine boot lies, and its identity: how a command line finds a
    running server's.
    """

    boot: str
    path: str
    identity: str  # 64 hex
    host: int  # random, 63 bits: who this host is among several; as old as the arena
    install: str = ""  # of the store


class DrainerStatus(msgspec.Struct, frozen=True):
    """What the process that drains tells the others. Times are Unix milliseconds."""

    boot: str
    pid: int
    beat_ms: int  # last tick that went well
    commit_ms: int  # last transaction that held rows; 0 = none yet
    rows: int  # moved by this process since it began to drain
    applied: int  # change sequence that its arena has seen
    error: str = ""  # why the last tick failed; empty = it did not


class AgentStatus(msgspec.Struct, frozen=True):
    """What the process that speaks for this host among others tells. Times are of the boot clock,
    microseconds.
    """

    boot: str
    pid: int
    beat_us: int
    renewed_us: int  # when the newest renewal was granted; 0 = none yet
    hosts: int  # how many are registered
    announced: int  # newest change that somebody waited for
    obeyed: int  # changes up to here are obeyed by this host
    reason: str = ""  # why it has no lease, if so
    adrift: bool = False  # without Redis: it serves a safe share of the limits
    counters: dict[str, float] = {}
    delays: dict[
        str, int
    ] = {}  # how long changes took until all hosts obeyed: upper ends in ms, and ``sum`` in µs


class DataDir:
    """The paths of one data directory. Construction touches nothing; ``prepare`` makes and checks
    it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.journals = root / "journal"
        self.host_id_file = root / "host-id"
        self.note_file = root / "arena.note"
        self.recount_file = root / "recount"
        self.counters_file = root / "counters"
        self.status_file = root / "drainer.status"
        self.agent_file = root / "agent.status"
        self.policy_lock = root / "policy.lock"
        self.drainer_lock = root / "drainer.lock"
        self.serve_lock = root / "serve.lock"
        self.agent_socket = root / "agent.sock"
        self.control_socket = root / "control.sock"

    def prepare(self) -> Self:
        """Make the directory (mode 0700), or check that it is ours and can be written; else
        ConfigurationError.
        """
        with _explained(self.root):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_owner()
            if not self.host_id_file.exists():
                self._check_foreign()
                _write_once(self.host_id_file, secrets.token_hex(32))
            self.journals.mkdir(mode=0o700, exist_ok=True)
            if (
                not os.access(self.root, os.W_OK | os.X_OK)
                or os.statvfs(self.root).f_flag & os.ST_RDONLY
            ):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return self

    def _check_owner(self) -> None:
        found = self.root.stat()
        if found.st_uid != os.geteuid():
            raise ConfigurationError(
                f"The data directory {self.root} belongs to another user (uid {found.st_uid}). "
                "Run as that user, or choose another data_dir."
            )
        if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            self.root.chmod(0o700)

    def _check_foreign(self) -> None:
        for entry in self.root.iterdir():
            if not entry.name.startswith(_OURS):
                foreign = (
                    f"is not a NemoRouter data directory and is not empty (it holds {entry.name!r})"
                )
                raise ConfigurationError(
                    f"The directory {self.root} {foreign}. Choose another data_dir."
                )

    def host_id(self) -> str:
        """64 hex digits, drawn once for this data directory."""
        with _explained(self.root):
            text = self.host_id_file.read_text("ascii").strip()
        if len(text) != 64:
            raise ConfigurationError(
                f"{self.host_id_file} is damaged. Stop all servers, delete it and start again."
            )
        return text

    def host_number(self) -> int:
        """The same as a number of 63 bits: what the ledger calls this host. It outlives the
        machine's boots.
        """
        return int.from_bytes(blake3(self.host_id().encode("ascii")).digest(8), "big") >> 1 or 1

    def arena_path(self, capacity: int, scopes: int) -> Path:
        """Where a new arena belongs: in tmpfs when it has room for ``scopes`` and half as many
        again, else here.
        """
        need = (
            _BYTES_FIXED
            + _BYTES_A_PLACE * capacity
            + _BYTES_A_SCOPE * min(capacity, scopes + scopes // 2 + 4096)
        )
        name = f"nemorouter-{os.geteuid()}-{blake3(os.fsencode(self.root.resolve())).hexdigest()[:16]}.arena"
        place = _TMPFS / name
        with suppress(OSError):
            room = os.statvfs(_TMPFS)
            if (
                os.access(_TMPFS, os.W_OK)
                and room.f_bavail * room.f_frsize > need
                and _mine_or_free(place)
            ):
                return place
        return self.root / "arena"

    def note(self) -> ArenaNote | None:
        """The note of this boot's arena; None if there is none. An arena of an earlier boot is as
        good as none.
        """
        with suppress(OSError, msgspec.MsgspecError):
            note = msgspec.json.decode(self.note_file.read_bytes(), type=ArenaNote)
            if note.boot == boot_id() and _mine(Path(note.path)):
                return note
        return None

    def write_note(self, path: Path, identity: bytes, install: str = "") -> None:
        """Say where the new arena is, and draw the host's number. Only under ``policy_lock``."""
        note = ArenaNote(boot_id(), str(path), identity.hex(), secrets.randbits(63) or 1, install)
        replace_file(self.note_file, msgspec.json.encode(note))

    def drainer_status(self) -> DrainerStatus | None:
        """The newest word of this boot's drainer; None if there is none."""
        with suppress(OSError, msgspec.MsgspecError):
            status = msgspec.json.decode(self.status_file.read_bytes(), type=DrainerStatus)
            return status if status.boot == boot_id() else None
        return None

    def agent_status(self) -> AgentStatus | None:
        """The newest word of this boot's agent; None if there is none."""
        with suppress(OSError, msgspec.MsgspecError):
            status = msgspec.json.decode(self.agent_file.read_bytes(), type=AgentStatus)
            return status if status.boot == boot_id() else None
        return None

    def journal_paths(self) -> list[Path]:
        """All journals, of live and dead workers, oldest name first."""
        try:
            return sorted(
                Path(entry.path)
                for entry in os.scandir(self.journals)
                if entry.name.endswith(".journal")
            )
        except FileNotFoundError:
            return []


def arenas_in_memory() -> list[Path]:
    """This user's arenas in tmpfs, whatever data directory they belong to."""
    with suppress(OSError):
        return [
            path
            for path in sorted(_TMPFS.glob(f"nemorouter-{os.geteuid()}-*.arena"))
            if _mine(path)
        ]
    return []


class Flock:
    """An advisory lock on a file, held until ``release`` or the death of the process. No child
    inherits it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        _held.add(self)

    @property
    def held(self) -> bool:
        """False after ``release``, and in a child of ``fork``."""
        return self._descriptor >= 0

    @classmethod
    def attempt(cls, path: Path, *, shared: bool = False) -> Self | None:
        """Take the lock now; None if someone else holds it (another open of this process is someone
        else).
        """
        with _explained(path.parent):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            raise ConfigurationError(
                f"{path} cannot be locked: {error.strerror}. Use a local disk."
            ) from error
        return cls(descriptor)

    def release(self) -> None:
        """Give the lock back. A second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


async def take(path: Path, *, shared: bool = False, deadline_s: float = 30.0) -> Flock:
    """Wait for the lock at ``path``; ConfigurationError when it was not to be had within
    ``deadline_s``.

    It waits in the event loop, so that a holder in the same loop can go on.
    """
    end, pause = time.monotonic() + deadline_s, 0.0005
    while (lock := Flock.attempt(path, shared=shared)) is None:
        if time.monotonic() > end:
            raise ConfigurationError(
                f"Another process holds {path} for more than {deadline_s:.0f} s. Is it stopped?"
            )
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.02)
    return lock


@asynccontextmanager
async def locked(path: Path, *, deadline_s: float = 30.0) -> AsyncIterator[Flock]:
    """Hold the lock at ``path`` for a block; see ``take``."""
    with await take(path, deadline_s=deadline_s) as lock:
        yield lock


def boot_id() -> str:
    """The kernel's name for this boot of the machine; mapped memory and boot clocks are of one boot
    only.
    """
    return _BOOT_ID.read_text("ascii").strip()


def replace_file(path: Path, content: bytes) -> None:
    """Write ``path`` whole or not at all, readable by its owner only."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(
        draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
    )
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    draft.replace(path)


def _write_once(path: Path, text: str) -> None:
    """The first of several writers wins, and nobody sees half a file."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    replace_file(draft, text.encode())
    try:
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


def _mine(path: Path) -> bool:
    """A regular file of this user: anyone may write to tmpfs."""
    found = path.lstat()
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()


def _mine_or_free(path: Path) -> bool:
    try:
        return _mine(path)
    except FileNotFoundError:
        return True


_held: WeakSet[Flock] = WeakSet()


def _forget() -> None:
    """In a child: close the copies, or a lock would outlive the process that took it."""
    for lock in tuple(_held):
        lock.release()


os.register_at_fork(after_in_child=_forget)


@contextmanager
def _explained(root: Path) -> Iterator[None]:
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
