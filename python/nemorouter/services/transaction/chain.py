"""Chain the audit events: each event's keyed BLAKE3 covers the event before it.

Any edit shows, and where it is.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
from blake3 import blake3
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter.datadir.files import replace_file
from nemorouter.datadir.paths import DataDir
from nemorouter.store.schema import audit, meta

_HEAD: Final = "audit_head"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the audit log, without its hash."""

    seq: int
    at_ms: int
    org_id: int
    actor: str
    source_ip: str
    action: str
    resource: str
    before: str | None = None
    after: str | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The result of ``verify``: how many events are sound, and the first that is not."""

    events: int
    head: str
    """Hash of the last event, hex; kept elsewhere, it proves that nothing was cut off."""
    broken_at: int | None = None  # seq
    reason: str | None = None


def link(key: bytes, before: bytes, event: Event) -> bytes:
    """Hash ``event`` after the event whose hash is ``before``.

    JSON keeps the borders between the fields.
    """
    return blake3(before + msgspec.json.encode(msgspec.structs.astuple(event)), key=key).digest()


async def set_head(connection: AsyncConnection, key: bytes, seq: int, digest: bytes) -> None:
    """Note the end of the chain under the key, so that a cut tail shows as well."""
    value = _head(key, seq, digest)
    done = await connection.execute(update(meta).where(meta.c.key == _HEAD).values(value=value))
    if not done.rowcount:
        await connection.execute(insert(meta).values(key=_HEAD, value=value))


def write_anchor(folder: Path, seq: int, digest: bytes) -> None:
    """Note the newest event beside the store.

    An older copy of the store, whole in itself, then shows as well.
    """
    if seq > (read_anchor(folder) or (0, b""))[0]:
        with suppress(
            OSError
        ):  # a full disk must not undo what is committed; the next event tries again
            replace_file(DataDir(folder).audit_anchor, f"{seq} {digest.hex()}\n".encode())


def read_anchor(folder: Path) -> tuple[int, bytes] | None:
    """Return number and hash of the event that was noted last."""
    try:
        seq, _, digits = DataDir(folder).audit_anchor.read_text("ascii").strip().partition(" ")
        return int(seq), bytes.fromhex(digits)
    except (OSError, ValueError):
        return None


async def verify(
    connection: AsyncConnection, key: bytes, anchor: tuple[int, bytes] | None = None
) -> Verdict:
    """Walk the whole chain; it must also hold the event of ``anchor``."""
    before = b""
    count = 0
    async for event, digest in _events(connection):
        if event.seq != count + 1:
            return Verdict(
                events=count, head=before.hex(), broken_at=count + 1, reason="an event is missing"
            )
        if link(key, before, event) != digest:
            return Verdict(
                events=count, head=before.hex(), broken_at=event.seq, reason="an event was changed"
            )
        before = digest
        count = event.seq
        if anchor is not None and anchor[0] == count and anchor[1] != digest:
            return Verdict(
                events=count - 1,
                head=before.hex(),
                broken_at=count,
                reason="the log was written anew",
            )
    head = (await connection.execute(select(meta.c.value).where(meta.c.key == _HEAD))).scalar()
    if head != (_head(key, count, before) if count else None) or (
        anchor is not None and anchor[0] > count
    ):
        return Verdict(
            events=count,
            head=before.hex(),
            broken_at=count + 1,
            reason="the end of the log was cut off",
        )
    return Verdict(events=count, head=before.hex())


def _head(key: bytes, seq: int, digest: bytes) -> str:
    return blake3(b"head %d " % seq + digest, key=key).hexdigest()


async def _events(connection: AsyncConnection) -> AsyncIterator[tuple[Event, bytes]]:
    columns = [audit.c[name] for name in Event.__struct_fields__]
    result = await connection.stream(select(*columns, audit.c.hash).order_by(audit.c.seq))
    async for *fields, digest in result:
        yield Event(**dict(zip(Event.__struct_fields__, fields, strict=True))), bytes(digest)
