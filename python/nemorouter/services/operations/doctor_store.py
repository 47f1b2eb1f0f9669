"""Look at the store for the doctor: its layout, its soundness, its secrets, its clock.

Nothing is changed.
"""

import asyncio
from collections.abc import Iterator
from typing import Final

from nemorouter.datadir.secrets import load_audit_key, load_peppers
from nemorouter.errors import StoreError
from nemorouter.services.operations.check import Check
from nemorouter.services.transaction.clock import iso, now_ms
from nemorouter.services.transaction.context import audit_key_path
from nemorouter.settings import Settings
from nemorouter.store.backend import Backend
from nemorouter.store.engine import backend_of
from nemorouter.store.fingerprints import AUDIT_ID, compare
from nemorouter.store.schema import SCHEMA_VERSION

_BORN_MS: Final = 1_764_000_000_000  # no true clock is earlier than this program
_NEWEST_ROW: Final = (
    "SELECT max((SELECT max(at_ms) FROM requests WHERE org_id = orgs.id)) FROM orgs"
)
_RISKS: Final = {
    "fsync": "A power cut may destroy the store.",
    "full_page_writes": "A power cut may damage the store.",
    "synchronous_commit": "A power cut may lose rows whose place in the journals is free already.",
}
"""Settings of PostgreSQL that must be on."""


def store(settings: Settings) -> Iterator[Check]:
    backend = backend_of(settings)
    version = asyncio.run(backend.version())
    if version == 0:
        mend = "Run `nemorouter init` or `nemorouter serve`."
        yield Check(
            name="store", state="fail", finding=f"There is none at {backend.place}.", mend=mend
        )
        return
    finding = f"{backend.place} has layout {version}; this version wants {SCHEMA_VERSION}."
    if version != SCHEMA_VERSION:
        newer = version > SCHEMA_VERSION
        mend = (
            "Install the newer nemorouter that wrote it."
            if newer
            else "Run `nemorouter db upgrade`."
        )
        yield Check(name="store", state="fail", finding=finding, mend=mend)
        return
    yield Check(name="store", state="ok", finding=finding)
    yield from _file(backend) if backend.dialect == "sqlite" else _server(backend)


def _file(backend: Backend) -> Iterator[Check]:
    try:
        ((verdict,),) = asyncio.run(backend.look("PRAGMA quick_check(1)"))
    except StoreError as error:
        verdict = str(error)
    sound = verdict == "ok"
    yield Check(
        name="store integrity",
        state="ok" if sound else "fail",
        finding="The store is sound." if sound else f"The store is damaged: {verdict}.",
        mend=None if sound else "Stop the servers and restore a backup.",
    )


def _server(backend: Backend) -> Iterator[Check]:
    found = dict(
        asyncio.run(backend.look("SELECT name, setting FROM pg_settings WHERE setting = 'off'"))
    )
    for name in found.keys() & _RISKS:
        mend = f"Set {name} = on in postgresql.conf, unless this is a test."
        yield Check(
            name="store safety", state="warn", finding=f"{name} is off. {_RISKS[name]}", mend=mend
        )
    if not found.keys() & _RISKS:
        yield Check(name="store safety", state="ok", finding="PostgreSQL commits to its disk.")


def secrets(settings: Settings) -> Iterator[Check]:
    known: dict[int, str] = {}
    backend = backend_of(settings)
    if asyncio.run(backend.version()):
        rows = asyncio.run(backend.look("SELECT key, value FROM meta WHERE key LIKE 'pepper.%'"))
        known = {int(key.removeprefix("pepper.")): value for key, value in rows}
    elif not settings.pepper_path.exists():
        return  # both are made at the first run
    peppers = load_peppers(settings.pepper_path)
    audit_path = audit_key_path(settings)
    audit_key = load_audit_key(audit_path)
    compare(
        {id: value for id, value in known.items() if id != AUDIT_ID},
        peppers,
        str(settings.pepper_path),
    )
    compare(
        {id: known[id] for id in known.keys() & {AUDIT_ID}},
        [(AUDIT_ID, audit_key)],
        str(audit_path),
    )
    finding = f"{settings.pepper_path} holds {len(peppers)} of this store's peppers."
    yield Check(name="secrets", state="ok", finding=finding)


def clock(settings: Settings) -> Iterator[Check]:
    latest = 0
    backend = backend_of(settings)
    if asyncio.run(backend.version()):
        for query in (_NEWEST_ROW, "SELECT max(at_ms) FROM audit"):
            latest = max(latest, asyncio.run(backend.look(query))[0][0] or 0)
    now = now_ms()
    if now < _BORN_MS or now < latest - 60_000:
        finding = (
            f"It is {iso(now)} by this machine, but the store knows {iso(max(latest, _BORN_MS))}."
        )
        mend = "Set the clock (NTP): budget windows and expiry follow it."
        yield Check(name="clock", state="fail", finding=finding, mend=mend)
    else:
        yield Check(name="clock", state="ok", finding=f"It is {iso(now)}.")
