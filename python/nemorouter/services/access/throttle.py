"""Limit how often a password is guessed, by account and by source, for the whole installation.

An attempt is counted before it is judged, so that a hundred at once count as a hundred. The right
password clears the account.
"""

import ipaddress
from collections.abc import Sequence
from typing import Final

from blake3 import blake3
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter.errors import BusyError
from nemorouter.services.transaction.clock import now_ms
from nemorouter.services.transaction.context import Context
from nemorouter.store.schema import throttles

FREE_ACCOUNT: Final = 5
FREE_SOURCE: Final = 20
LONGEST_S: Final = 300
_FORGET_MS: Final = 3_600_000

Subject = tuple[str, int]
"""A keyed hash of what is counted, and how many attempts are free."""


def account(context: Context, email: str) -> Subject:
    """Name the attempts on one e-mail address, known or not."""
    return _hash(context, "account", email.strip().lower()), FREE_ACCOUNT


def source(context: Context, address: str) -> Subject:
    """Name the attempts from one address, or from one /64 of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
        network = (
            ipaddress.ip_network((parsed, 64), strict=False) if parsed.version == 6 else parsed
        )
        return _hash(context, "source", str(network)), FREE_SOURCE
    except ValueError:
        return _hash(context, "source", "?"), FREE_SOURCE


async def charge(context: Context, subjects: Sequence[Subject]) -> None:
    """Count an attempt. BusyError: one of the subjects must wait; then nothing is counted."""
    at = now_ms()
    async with context.store.begin() as connection:
        names = [name for name, _ in subjects]
        await connection.execute(delete(throttles).where(throttles.c.last_ms < at - _FORGET_MS))
        found = await connection.execute(select(throttles).where(throttles.c.subject.in_(names)))
        rows = {row.subject: row for row in found}
        wait = max((row.until_ms - at for row in rows.values()), default=0)
        if wait > 0:
            raise BusyError(
                "Too many attempts. Try again later.", retry_s=-(-wait // 1000), throttled=True
            )
        for name, free in subjects:
            failures = rows[name].failures + 1 if name in rows else 1
            await _write(
                connection, name, failures, at, _delay_ms(failures, free), known=name in rows
            )


async def forgive(connection: AsyncConnection, subjects: Sequence[Subject]) -> None:
    """Take the count of an attempt back, since it was right or was never judged."""
    for name, free in subjects:
        row = (
            await connection.execute(select(throttles).where(throttles.c.subject == name))
        ).first()
        if row is not None and free == FREE_ACCOUNT:
            await connection.execute(delete(throttles).where(throttles.c.subject == name))
        elif row is not None:
            await _write(connection, name, max(0, row.failures - 1), row.last_ms, 0, known=True)


def _delay_ms(failures: int, free: int) -> int:
    return 0 if failures < free else min(1 << min(failures - free, 20), LONGEST_S) * 1000


async def _write(
    connection: AsyncConnection, name: str, failures: int, at: int, delay: int, *, known: bool
) -> None:
    row = {"failures": failures, "last_ms": at, "until_ms": at + delay}
    if known:
        await connection.execute(update(throttles).where(throttles.c.subject == name).values(**row))
    else:
        await connection.execute(insert(throttles).values(subject=name, **row))


def _hash(context: Context, kind: str, text: str) -> str:
    return blake3(
        f"nemorouter throttle {kind}\0{text}".encode("utf-8", "replace"), key=context.audit_key
    ).hexdigest()
