"""Find what is wrong with a set-up, and say how to mend it.

The doctor looks at everything, changes nothing, and never fails itself.
"""

import os
import shlex
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from nemorouter.datadir import orphaned_arenas, set_aside
from nemorouter.datadir.holders import holders, named
from nemorouter.datadir.locks import Flock
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.set_aside import Queue
from nemorouter.errors import NemoError
from nemorouter.services.operations import doctor_store
from nemorouter.services.operations.check import Check
from nemorouter.services.transaction.clock import now_ms
from nemorouter.settings import Settings

_LOW_ROOM: Final = 256 << 20
_NO_ROOM: Final = 16 << 20
_LATE_MS: Final = 10_000
_SHOWN: Final = 5
_ASIDE: Final = {
    Queue.CHANGES: (
        "changes cannot be applied, and what they are about is refused",
        "Mend each by its reason: delete prices that nobody needs (`nemorouter prices delete`), "
        "or raise "
        "capacity and restart all servers.",
    ),
    Queue.ROWS: (
        "requests are not in the ledger, for their numbers cannot be",
        "A journal was damaged: check the disk. All that is known of them is in {path}; "
        "delete it when "
        "they are accounted for.",
    ),
    Queue.ALERTS: (
        "budgets cannot be judged, and alert nobody",
        "Set these budgets anew.",
    ),
    Queue.DELIVERIES: (
        "alerts could not be posted by a fault of this program",
        "See the server's log for the cause. Delete {path} when it is dealt with.",
    ),
}
"""By queue: what it means that items are set aside, and how to mend it."""
_TMPFS: Final = Path("/dev/shm")  # noqa: S108 - where the arena lies; only its room is looked at


def examine(settings: Settings) -> list[Check]:
    """All checks, in the order in which one would mend."""
    return [check for look in _LOOKS for check in _safely(look, settings)]


def _safely(look: Callable[[Settings], Iterator[Check]], settings: Settings) -> list[Check]:
    name = look.__name__.strip("_").replace("_", " ")
    try:
        return list(look(settings))
    except NemoError as error:
        return [Check(name=name, state="fail", finding=str(error))]
    except Exception as error:  # a doctor that falls ill says so, and looks on
        return [Check(name=name, state="fail", finding=f"{type(error).__name__}: {error}")]


def _data_directory(settings: Settings) -> Iterator[Check]:
    path = settings.data_dir
    if not path.is_dir():
        mend = "Run `nemorouter init` or `nemorouter serve`, or name another with --data-dir."
        yield Check(
            name="data directory", state="fail", finding=f"There is none at {path}.", mend=mend
        )
        return
    owner = path.stat().st_uid
    mode = path.stat().st_mode & 0o777
    if owner != os.geteuid():
        finding = f"{path} belongs to uid {owner}, and this is uid {os.geteuid()}."
        yield Check(
            name="data directory",
            state="fail",
            finding=finding,
            mend="Run as the user that owns it.",
        )
    elif not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        mend = f"Run `chmod 700 {path}`, and check that its volume is not mounted read-only."
        yield Check(
            name="data directory", state="fail", finding=f"{path} cannot be written.", mend=mend
        )
    elif mode & 0o077:
        finding = f"{path} is open to other users (mode {mode:o})."
        yield Check(
            name="data directory", state="warn", finding=finding, mend=f"Run `chmod 700 {path}`."
        )
    else:
        yield Check(name="data directory", state="ok", finding=f"{path} is ours alone.")


def _room(settings: Settings) -> Iterator[Check]:
    for name, path in (("room for data", settings.data_dir), ("room for the arena", _TMPFS)):
        if not path.is_dir():
            continue
        free = shutil.disk_usage(path).free
        finding = f"{free >> 20} MiB are free at {path}."
        if path == _TMPFS and free < _LOW_ROOM:
            mend = (
                "The arena goes to the data directory instead; "
                "give the container a larger --shm-size for speed."
            )
            yield Check(name=name, state="warn", finding=finding, mend=mend)
        elif free < _NO_ROOM:
            yield Check(
                name=name,
                state="fail",
                finding=finding,
                mend="Make room: requests are refused without it.",
            )
        elif free < _LOW_ROOM:
            mend = "Make room, or lower log_retention_days."
            yield Check(name=name, state="warn", finding=finding, mend=mend)
        else:
            yield Check(name=name, state="ok", finding=finding)


def _server(settings: Settings) -> Iterator[Check]:
    data = DataDir(settings.data_dir)
    serving = data.serve_lock.exists() and _is_held(data.serve_lock)
    if not serving:
        yield Check(name="server", state="ok", finding="No server runs on this data directory.")
        yield from _port(settings)
    else:
        yield Check(name="server", state="ok", finding="A server runs on this data directory.")
        yield from _arena(settings)
        yield from _drainer(data)
    yield from _journals(data, serving=serving)


def _port(settings: Settings) -> Iterator[Check]:
    where = f"{settings.host}:{settings.port}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as error:
            mend = "End the program that uses it, or choose another with --port or --host."
            finding = f"{where} cannot be used: {error.strerror}."
            yield Check(name="port", state="fail", finding=finding, mend=mend)
            return
    yield Check(name="port", state="ok", finding=f"{where} is free.")


def _arena(settings: Settings) -> Iterator[Check]:
    # The native module is needed only where a server runs.
    from nemorouter.arena import attach

    arena = attach.live(settings)
    if arena is None:
        finding = (
            "The server's memory cannot be reached from here; changes wait for its confirmation."
        )
        mend = "Run the command line beside the server, in the same container."
        yield Check(name="arena", state="warn", finding=finding, mend=mend)
        return
    finding = (
        f"{arena.scopes} of {arena.capacity} places are in use; "
        f"{len(arena.frozen())} wait for a recount."
    )
    if arena.scopes > arena.capacity * 0.9:
        yield Check(
            name="arena",
            state="warn",
            finding=finding,
            mend="Raise capacity and restart all servers.",
        )
    else:
        yield Check(name="arena", state="ok", finding=finding)


def _drainer(data: DataDir) -> Iterator[Check]:
    status = data.drainer_status()
    mend = "See the server's log; without a drainer its journals fill up and requests are refused."
    if status is None or not status.drains():
        finding = "No process drains the journals."
        if found := holders(data.drainer_lock):
            finding = f"{named(found)} holds {data.drainer_lock} and does not drain."
            mend = "End it: it is stopped, or it hangs. Nothing is lost."
        yield Check(name="drainer", state="fail", finding=finding, mend=mend)
    elif status.error:
        yield Check(
            name="drainer", state="fail", finding=f"The drainer fails: {status.error}", mend=mend
        )
    elif (late := now_ms() - status.heartbeat_ms) > _LATE_MS:
        yield Check(
            name="drainer",
            state="fail",
            finding=f"The drainer is {late // 1000} s late.",
            mend=mend,
        )
    else:
        yield Check(
            name="drainer",
            state="ok",
            finding=f"Process {status.pid} drains; change {status.applied} is seen.",
        )


def _journals(data: DataDir, *, serving: bool) -> Iterator[Check]:
    paths = data.journal_paths()
    stale = [path for path in paths if not _is_held(path)]
    finding = f"{len(paths)} journals, {len(stale)} of dead workers."
    if stale and not serving:
        mend = (
            "Nothing is lost: the next `nemorouter serve` brings them into the ledger. "
            "Do not delete them."
        )
        yield Check(name="journals", state="warn", finding=finding, mend=mend)
    else:
        yield Check(name="journals", state="ok", finding=finding)
    aside = sorted(path.name for path in data.journals.glob("*.damaged"))
    if aside:
        finding = (
            "Unreadable journals were set aside; their requests are not in the ledger: "
            f"{', '.join(aside)}."
        )
        mend = (
            "If another version wrote them, rename them to .journal "
            f"in {data.journals} and start that one."
        )
        yield Check(name="journals set aside", state="warn", finding=finding, mend=mend)


def _set_aside(settings: Settings) -> Iterator[Check]:
    data = DataDir(settings.data_dir)
    for queue, (what, mend) in _ASIDE.items():
        kept = set_aside.read(data, queue)
        if not kept.total:
            continue
        first = [f"{item.name} ({item.reason})" for item in kept.items[-_SHOWN:]]
        more = kept.total - len(first)
        named = "; ".join(first) + (f"; and {more} more" if more else "")
        path = set_aside.file_of(data, queue)
        yield Check(
            name=f"{queue} set aside",
            state="fail",
            finding=f"{kept.total} {what}: {named}.",
            mend=mend.format(path=path),
        )
    if not any(set_aside.file_of(data, queue).exists() for queue in Queue):
        yield Check(name="set aside", state="ok", finding="Nothing is set aside.")


def _orphans(_: Settings) -> Iterator[Check]:
    lost = orphaned_arenas.find()
    size = sum(orphan.bytes for orphan in lost) >> 20
    finding = f"{len(lost)} arenas of gone or unknown data directories hold {size} MiB of memory."
    paths = " ".join(shlex.quote(str(orphan.path)) for orphan in lost[:5])
    mend = f"Remove them: rm {paths}{' …' * (len(lost) > 5)}"
    yield Check(
        name="orphaned memory",
        state="warn" if lost else "ok",
        finding=finding,
        mend=mend if lost else None,
    )


def _is_held(path: Path) -> bool:
    """Return whether a process holds the lock of this file."""
    lock = Flock.attempt(path)
    if lock is not None:
        lock.release()
    return lock is None


_LOOKS: Final = (
    _data_directory,
    _room,
    doctor_store.store,
    doctor_store.secrets,
    _server,
    _set_aside,
    _orphans,
    doctor_store.clock,
)
