"""From the store to the arena: the one way by which a policy or a price reaches the request path.

It owns the making, taking over and catching up of the host's arena, always under ``policy.lock``.
It must never replace an arena that a live process uses, nor skip a change.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from blake3 import blake3
from sqlalchemy import select

from nemorouter._core import LAYOUT, Arena, Journal
from nemorouter.arena.build import build
from nemorouter.arena.changes import apply_changes, retry
from nemorouter.datadir import orphaned_arenas, retained_counters, set_aside
from nemorouter.datadir.locks import Flock, locked, take
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.secrets import Pepper, fingerprint, load_peppers
from nemorouter.datadir.status import boot_id
from nemorouter.errors import ConfigurationError
from nemorouter.log import get_logger
from nemorouter.settings import Settings
from nemorouter.store.engine import Store
from nemorouter.store.fingerprints import check_peppers
from nemorouter.store.journals import move, open_journal, set_unfit_aside
from nemorouter.store.policies import change_seq
from nemorouter.store.schema import meta

_BUILD_DEADLINE_S: Final = 300.0  # another process may be loading a large store
_ANSWER_DEADLINE_S: Final = 5.0
_LOOKS: Final = 3
_LOOK_S: Final = 0.002

_log = get_logger(__name__)
_serving: dict[
    Path, tuple[Flock, ...]
] = {}  # this process' shares of each serve.lock and arena, held while it lives


async def attach(settings: Settings, store: Store | None = None) -> Arena:
    """Map the arena of this boot, or make it from the store; then catch up, and count as serving.

    An arena that fits is taken over with its meters. ConfigurationError: the data directory cannot
    be used, the peppers are not this store's, the arena has no room, or live processes use one that
    was made under other settings.
    """
    data = DataDir(settings.data_dir).prepare()
    async with (
        _opened(settings, store) as store,
        locked(data.policy_lock, deadline_s=_BUILD_DEADLINE_S),
    ):
        async with store.read() as connection:
            install = (
                await connection.execute(select(meta.c.value).where(meta.c.key == "install"))
            ).scalar() or ""
            identity = _identity(settings, data, install, await check_peppers(connection, settings))
            newest = await change_seq(connection)
        arena = _take_over(data, identity, newest) or await _rebuild(
            settings, data, store, identity, install
        )
        await _count_as_serving(data)
        await apply_changes(arena, store, data)
        await retry(arena, store, data, everything=True)
    return arena


async def join(settings: Settings) -> Arena | None:
    """Map the arena that live processes of this data directory use under these settings.

    None: there is none. The store is not read, so that a worker that is started while the store is
    away admits. The maker of the arena checked the peppers, and the drainer follows the changes.
    """
    data = DataDir(settings.data_dir)
    if data.note() is None:
        return None
    async with locked(data.policy_lock, deadline_s=_BUILD_DEADLINE_S):
        note = data.note()
        arena = live(settings)
        if note is None or arena is None:
            return None
        if (
            note.identity
            != _identity(settings, data, note.install, load_peppers(settings.pepper_path)).hex()
        ):
            return None
        for _ in range(
            _LOOKS
        ):  # a process that checks whether one serves holds the lock for an instant, too
            if not _is_served(data):
                return None
            await asyncio.sleep(_LOOK_S)
        await _count_as_serving(data)
    return arena


def detach(settings: Settings) -> None:
    """Stop counting as serving. The end of the process does it too."""
    for share in _serving.pop(settings.data_dir, ()):
        share.release()


async def _count_as_serving(data: DataDir) -> None:
    """Hold a share of ``serve.lock`` and of the arena, if this process does not yet.

    The caller holds ``policy.lock``.
    """
    shares = _serving.get(data.root)
    note = data.note()
    if note is not None and (shares is None or not all(share.held for share in shares)):
        arena = Path(note.path)
        orphaned_arenas.label(arena, data.root)
        _serving[data.root] = (
            await take(data.serve_lock, shared=True),
            await take(arena, shared=True),
        )


async def new_journal(settings: Settings, upstreams: Sequence[str]) -> Journal:
    """Make this worker's journal under ``policy.lock``, so that no recount can miss it."""
    data = DataDir(settings.data_dir)
    async with locked(data.policy_lock, deadline_s=_BUILD_DEADLINE_S):
        try:
            return Journal.create(str(data.journals), settings.journal_slots, upstreams)
        except OSError as error:
            raise ConfigurationError(
                f"There is no room in {data.journals} "
                f"for {settings.journal_slots} journal slots ({error.strerror}). "
                "Make room, or lower journal_slots."
            ) from error


def live(settings: Settings) -> Arena | None:
    """Return the arena of this boot, if there is one that can be reached from here."""
    note = DataDir(settings.data_dir).note()
    if note is not None:
        with suppress(OSError, ValueError):
            return Arena.open(note.path, bytes.fromhex(note.identity))
    return None


async def catch_up(arena: Arena, store: Store, data: DataDir) -> int:
    """Apply every change that the store committed before this call; answer the newest number.

    What the arena cannot hold is set aside and refused, so that the arena is true to every change
    up to that number.
    """
    async with locked(data.policy_lock):
        await apply_changes(arena, store, data)
        return arena.applied


async def try_again(arena: Arena, store: Store, data: DataDir) -> None:
    """Apply what is set aside, as far as it can be by now."""
    async with locked(data.policy_lock):
        await retry(arena, store, data)


async def catch_up_if_live(settings: Settings, store: Store, changes: range = range(0)) -> None:
    """Make running servers of this data directory apply what was committed before this call.

    Without a server, do nothing. ConfigurationError: no server took it over in time, or one of
    ``changes`` was set aside.
    """
    data = DataDir(settings.data_dir)
    arena = live(settings)
    if arena is not None:
        await catch_up(arena, store, data)
    elif _is_served(data):
        await _wait_for_drainer(data, store)  # its memory is out of reach, as in another container
    else:
        return
    set_aside.check(data, changes)


def _is_served(data: DataDir) -> bool:
    if not data.serve_lock.exists():
        return False
    lock = Flock.attempt(data.serve_lock)
    if lock is not None:
        lock.release()
    return lock is None


async def _wait_for_drainer(data: DataDir, store: Store) -> None:
    async with store.read() as connection:
        wanted = await change_seq(connection)
    end = time.monotonic() + _ANSWER_DEADLINE_S
    while (status := data.drainer_status()) is None or status.applied < wanted:
        if time.monotonic() > end:
            raise ConfigurationError(
                "The change is saved, but the running server did not confirm it. "
                "See its log, or restart it."
            )
        await asyncio.sleep(0.01)


@asynccontextmanager
async def _opened(settings: Settings, store: Store | None) -> AsyncIterator[Store]:
    if store is not None:
        yield store
        return
    store = await Store.open(settings, migrate=True)
    try:
        yield store
    finally:
        await store.close()


def _identity(settings: Settings, data: DataDir, install: str, peppers: Sequence[Pepper]) -> bytes:
    """Return 32 bytes that differ where an arena must not be shared.

    They cover layout, boot, peppers, store, directory and capacity.
    """
    kind = "alone" if settings.redis_url is None else "clustered"
    parts = (
        str(LAYOUT),
        boot_id(),
        fingerprint(peppers).hex(),
        install,
        data.host_id(),
        str(settings.capacity),
        kind,
    )
    return blake3("\n".join(parts).encode()).digest()


def _take_over(data: DataDir, identity: bytes, newest: int) -> Arena | None:
    """Open the arena that the note names, if it has this identity and this store's past."""
    note = data.note()
    if note is None or note.identity != identity.hex():
        return None
    try:
        arena = Arena.open(note.path, identity)
    except (OSError, ValueError) as error:
        _log.warning("arena_unusable", path=note.path, reason=str(error))
        return None
    if arena.applied > newest:  # a backup was restored: what was revoked since then lives again
        _log.warning("store_older_than_arena", store=newest, arena=arena.applied)
        return None
    return arena


async def _rebuild(
    settings: Settings, data: DataDir, store: Store, identity: bytes, install: str
) -> Arena:
    """Make a new arena from the store, if no live process uses the old one."""
    lock = Flock.attempt(data.serve_lock)
    if lock is None:
        raise ConfigurationError(
            f"A running server uses {data.root} with other memory: "
            "its peppers or capacity differ, or it runs in "
            "another container. Stop it first, or use its settings."
        )
    with lock:
        old = data.note()
        await _recover_dead_journals(store, data)
        begun = time.monotonic()
        arena, path = await build(settings, data, store, identity)
        data.write_note(path, identity, install)
        if old is not None and old.path != str(path):
            orphaned_arenas.remove(Path(old.path))
    _log.info(
        "arena_built",
        path=str(path),
        scopes=arena.scopes,
        seconds=round(time.monotonic() - begun, 2),
    )
    return arena


async def _recover_dead_journals(store: Store, data: DataDir) -> None:
    """Move the rows of dead workers into the store.

    Their slots name places of an arena that is gone.
    """
    for path in data.journal_paths():
        journal = open_journal(path)
        if journal is None:
            continue
        if not journal.lock_if_dead():
            raise ConfigurationError(
                f"The journal {path} is in use by a process that does not hold {data.serve_lock}."
            )
        journal.recover()
        set_unfit_aside(data, journal)
        while await move(store, data, [journal], journal.take_refusal_counts(1 << 40)):
            pass
        retained_counters.add(data.counters_file, journal, path.name)
        path.unlink()
