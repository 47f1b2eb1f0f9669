"""Paths, locks and identity of a data directory.

Owns what lies where, who may enter, and the file locks by which processes agree. It must never read
or write what the files hold, but for ``host-id`` and the note that says where the live arena is.
"""

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import msgspec
from blake3 import blake3

from nemorouter.datadir.files import explained, mine, mine_or_free, replace_file, write_once
from nemorouter.datadir.status import AgentStatus, ArenaNote, DrainerStatus, boot_id
from nemorouter.errors import ConfigurationError
from nemorouter.settings import PEPPER_NAME, STORE_NAME

_TMPFS: Final = Path("/dev/shm")  # noqa: S108 - a mapped file needs memory; its owner and identity are checked
_ALSO: Final = ("nemorouter.toml", ".", "lost+found")
"""Beginnings of other names in a data directory: settings, drafts, a volume's own folder."""
_BYTES_A_SCOPE: Final = 512  # record, its share of the allow-lists, and headroom
_BYTES_A_PLACE: Final = 16  # digest table, for each scope of the capacity
_BYTES_FIXED: Final = 8 << 20


class DataDir:
    """The paths of one data directory.

    Construction touches nothing; ``prepare`` makes and checks the directory. Each attribute is a
    path. A name in the directory is ours if it begins as one of them does.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store_file = root / STORE_NAME
        self.pepper_file = root / PEPPER_NAME
        self.audit_anchor = root / "audit.anchor"
        self.journals = root / "journal"
        self.set_aside = root / "set-aside"
        self.host_id_file = root / "host-id"
        self.arena_file = root / "arena"
        self.note_file = root / "arena.note"
        self.recount_file = root / "recount"
        self.counters_file = root / "counters"
        self.status_file = root / "drainer.status"
        self.agent_file = root / "agent.status"
        self.policy_lock = root / "policy.lock"
        self.drainer_lock = root / "drainer.lock"
        self.dedicated_lock = root / "drainer.dedicated.lock"
        self.serve_lock = root / "serve.lock"
        self.alerts_lock = root / "alerts.lock"
        self.agent_socket = root / "agent.sock"
        self.control_socket = root / "control.sock"

    @property
    def locks(self) -> tuple[Path, ...]:
        """The files by whose locks the processes of this directory agree."""
        return (
            self.policy_lock,
            self.drainer_lock,
            self.dedicated_lock,
            self.serve_lock,
            self.alerts_lock,
        )

    def prepare(self) -> Self:
        """Make the directory with mode 0700, or check that it is ours and can be written.

        ConfigurationError: it is not, or cannot.
        """
        with explained(self.root):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_owner()
            if not self.host_id_file.exists():
                self._check_foreign()
                write_once(self.host_id_file, secrets.token_hex(32))
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
        paths = (path for path in vars(self).values() if path != self.root)
        own = (*(path.name for path in paths), *_ALSO)
        for entry in self.root.iterdir():
            if not entry.name.startswith(own):
                foreign = (
                    f"is not a NemoRouter data directory and is not empty (it holds {entry.name!r})"
                )
                raise ConfigurationError(
                    f"The directory {self.root} {foreign}. Choose another data_dir."
                )

    def host_id(self) -> str:
        """Read the identity of this data directory: 64 hex digits that were drawn once."""
        with explained(self.root):
            text = self.host_id_file.read_text("ascii").strip()
        if len(text) != 64:
            raise ConfigurationError(
                f"{self.host_id_file} is damaged. Stop all servers, delete it and start again."
            )
        return text

    def host_number(self) -> int:
        """Return the identity of this data directory as 63 bits: the host's number in the store.

        It outlives the machine's boots.
        """
        return int.from_bytes(blake3(self.host_id().encode("ascii")).digest(8), "big") >> 1 or 1

    def arena_path(self, capacity: int, scopes: int) -> Path:
        """Return the path of a new arena: in tmpfs where that has room, else in the data directory.

        Room is needed for ``scopes`` and half as many again.
        """
        need = (
            _BYTES_FIXED
            + _BYTES_A_PLACE * capacity
            + _BYTES_A_SCOPE * min(capacity, scopes + scopes // 2 + 4096)
        )
        digest = blake3(os.fsencode(self.root.resolve())).hexdigest()[:16]
        name = f"nemorouter-{os.geteuid()}-{digest}.arena"
        place = _TMPFS / name
        with suppress(OSError):
            room = os.statvfs(_TMPFS)
            if (
                os.access(_TMPFS, os.W_OK)
                and room.f_bavail * room.f_frsize > need
                and mine_or_free(place)
            ):
                return place
        return self.arena_file

    def note(self) -> ArenaNote | None:
        """Read the note of the arena of this machine boot.

        None: there is no arena, or only one of an earlier boot.
        """
        with suppress(OSError, msgspec.MsgspecError):
            note = msgspec.json.decode(self.note_file.read_bytes(), type=ArenaNote)
            if note.boot == boot_id() and mine(Path(note.path)):
                return note
        return None

    def write_note(self, path: Path, identity: bytes, install: str = "") -> None:
        """Say where the new arena is, and draw the host's number. Only under ``policy_lock``."""
        note = ArenaNote(boot_id(), str(path), identity.hex(), secrets.randbits(63) or 1, install)
        replace_file(self.note_file, msgspec.json.encode(note))

    def drainer_status(self) -> DrainerStatus | None:
        """Read the newest status of the drainer in this machine boot; None if there is none."""
        with suppress(OSError, msgspec.MsgspecError):
            status = msgspec.json.decode(self.status_file.read_bytes(), type=DrainerStatus)
            return status if status.boot == boot_id() else None
        return None

    def agent_status(self) -> AgentStatus | None:
        """Read the newest status of the agent in this machine boot; None if there is none."""
        with suppress(OSError, msgspec.MsgspecError):
            status = msgspec.json.decode(self.agent_file.read_bytes(), type=AgentStatus)
            return status if status.boot == boot_id() else None
        return None

    def journal_drafts(self) -> list[Path]:
        """All journals that are being made, or that a worker did not finish."""
        try:
            return [Path(e.path) for e in os.scandir(self.journals) if e.name.endswith(".new")]
        except FileNotFoundError:
            return []

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
    """List this user's arenas in tmpfs, whatever data directory they belong to."""
    with suppress(OSError):
        return [
            path for path in sorted(_TMPFS.glob(f"nemorouter-{os.geteuid()}-*.arena")) if mine(path)
        ]
    return []
