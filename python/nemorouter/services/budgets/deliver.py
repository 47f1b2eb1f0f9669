"""Post budget alerts to webhooks: signed, tried for a day, never to an address inside our network.

The name is resolved at each try, and the connection goes to the address that was checked. No
redirect is followed.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import Row, select, update

from nemorouter import ids
from nemorouter.datadir import set_aside
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.set_aside import Item, Queue
from nemorouter.errors import NemoError
from nemorouter.log import get_logger
from nemorouter.services.budgets.alerts import alert_view
from nemorouter.services.budgets.webhooks import DeliveryState, signing_secret
from nemorouter.services.transaction.clock import now_ms
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.lookup import TABLES
from nemorouter.store.schema import alerts, deliveries, webhooks
from nemorouter.types import Kind, Status

SIGNATURE: Final = "x-nemo-signature"
WAITING, DELIVERED, GIVEN_UP = (int(state) for state in DeliveryState)
ATTEMPTS: Final = 9  # with the pauses below: about a day
_FIRST_PAUSE_MS: Final = 10_000
_CLAIM_MS: Final = 60_000  # another process leaves it alone for so long: more than a try can take
_TIMEOUT_S: Final = 10.0
_LOT: Final = 20
_LONGEST_HEAD: Final = 16_384
_UNICAST: Final = ipaddress.ip_network("2000::/3")
"""All global unicast addresses of IPv6 that were given out."""
_SPECIAL: Final = tuple(
    ipaddress.ip_network(block)
    for block in (
        "192.0.0.0/24",  # protocol assignments
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.175.48.0/24",  # AS112
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
"""Blocks of the registries of special purposes that Python calls global, or may."""

_log = get_logger(__name__)


class DeliveryError(NemoError):
    """An alert could not be posted. The org's owner reads the message: our network is not in it."""


async def deliver(context: Context, clock: Callable[[], int] = now_ms) -> int:
    """Post what is due by ``clock`` (Unix milliseconds); answers how many were tried."""
    due = await _claim(context, clock())
    await asyncio.gather(
        *(_try(context, row, clock) for row in due)
    )  # so that none waits for another's slow receiver
    return len(due)


async def _try(context: Context, row: Row[Any], clock: Callable[[], int]) -> None:
    """Post one, and note what came of it."""
    status = None
    error = ""
    try:
        headers, body = await _message(context, row, clock() // 1000)
        status = await _send(context, row.url, headers, body)
        if not 200 <= status < 300:
            error = f"The webhook answered {status}."
    except DeliveryError as failure:
        error = str(failure)
    except Exception as failure:  # a fault of ours, or a damaged row: it must not stop the others
        error = "The delivery could not be made."
        _set_aside(context, row, failure)
    await _note(context, row, status, error, clock())


def _set_aside(context: Context, row: Row[Any], failure: Exception) -> None:
    name = ids.to_text("delivery", row.delivery)
    item = Item(name, f"{type(failure).__name__} at attempt {row.attempts + 1} of {ATTEMPTS}")
    set_aside.update(DataDir(context.settings.data_dir), Queue.DELIVERIES, [item])


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """``t=<seconds>,v1=<hex>``: HMAC-SHA256 over ``<seconds>.<body>``."""
    mac = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return f"t={timestamp},v1={mac.hexdigest()}"


def pause_ms(attempts: int) -> int:
    """Return how long to wait after so many failures, in milliseconds."""
    return _FIRST_PAUSE_MS << 2 * min(attempts - 1, 6)


async def _claim(context: Context, at: int) -> list[Row[Any]]:
    query = (
        select(
            deliveries.c.id.label("delivery"),
            deliveries.c.attempts,
            webhooks.c.url,
            webhooks.c.salt,
        )
        .add_columns(webhooks.c.status.label("hook_status"), alerts)
        .join(webhooks, webhooks.c.id == deliveries.c.webhook_id)
        .join(alerts, alerts.c.id == deliveries.c.alert_id)
        .where(deliveries.c.state == WAITING, deliveries.c.next_ms <= at)
        .order_by(deliveries.c.next_ms)
        .limit(_LOT)
    )
    async with context.store.read() as connection:
        if (await connection.execute(query.limit(1))).first() is None:
            return []  # nearly always: without taking the writer's turn
    async with context.store.begin() as connection:
        found = list((await connection.execute(query)).all())
        mine = deliveries.c.id.in_([row.delivery for row in found])
        await connection.execute(update(deliveries).where(mine).values(next_ms=at + _CLAIM_MS))
    return found


async def _message(context: Context, row: Row[Any], timestamp: int) -> tuple[dict[str, str], bytes]:
    """Make the headers and the body of a delivery. DeliveryError: nobody waits for it any more."""
    if row.hook_status != Status.ACTIVE:
        raise DeliveryError("The webhook was deleted.")
    async with context.store.read() as connection:
        table = TABLES[Kind(row.kind)]
        name = (
            await connection.execute(select(table.c.name).where(table.c.id == row.scope_id))
        ).scalar() or ""
    body = msgspec.json.encode({"type": "budget.threshold", "data": alert_view(row, name)})
    headers = {
        "content-type": "application/json",
        "user-agent": "nemorouter",
        "x-nemo-delivery": ids.to_text("delivery", row.delivery),
        SIGNATURE: sign(signing_secret(context, row.salt), timestamp, body),
    }
    return headers, body


async def _send(context: Context, url: str, headers: Mapping[str, str], body: bytes) -> int:
    """Post a message; answer the status. DeliveryError: nobody answered it."""
    private = context.settings.webhook_private_addresses
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await post(url, headers, body, private=private)
    except (
        OSError,
        TimeoutError,
        ssl.SSLError,
        ValueError,
        asyncio.IncompleteReadError,
    ) as failure:
        raise DeliveryError("The webhook cannot be reached.") from failure


async def post(url: str, headers: Mapping[str, str], body: bytes, *, private: bool) -> int:
    """Post once and return the status. DeliveryError: the name leads into our own network."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    if not secure and not private:
        raise DeliveryError("The webhook's URL must begin with https://.")
    address = await _address(host, parts.port or (443 if secure else 80), private=private)
    context = ssl.create_default_context() if secure else None
    reader, writer = await asyncio.open_connection(
        address[0],
        address[1],
        ssl=context,
        server_hostname=host if secure else None,
        limit=_LONGEST_HEAD,
    )
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [f"POST {target} HTTP/1.1", f"host: {parts.netloc}", f"content-length: {len(body)}"]
        lines += ["connection: close", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body)
        await writer.drain()
        line = (await reader.readuntil(b"\n")).split(b" ", 2)
        return int(line[1]) if len(line) > 1 and line[0].startswith(b"HTTP/1.") else 0
    except asyncio.LimitOverrunError as error:
        raise DeliveryError("The webhook's answer is no HTTP.") from error
    finally:
        writer.close()


async def _address(host: str, port: int, *, private: bool) -> tuple[str, int]:
    """Resolve an address of ``host``. All must be public: a name that leads to both is a trap."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not (private or all(is_public(address) for address in addresses)):
        raise DeliveryError("The webhook's address is not a public one.")
    return addresses[0], port


def is_public(address: str) -> bool:
    """Return true for a global unicast address that lies in no block with a special purpose.

    An address that wraps another, as those of NAT64 and 6to4 do, is in such a block.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if parsed.version == 6 and parsed not in _UNICAST:
        return False
    special = any(parsed in block for block in _SPECIAL if block.version == parsed.version)
    return parsed.is_global and not parsed.is_multicast and not special


async def _note(context: Context, row: Row[Any], status: int | None, error: str, at: int) -> None:
    attempts = row.attempts + 1
    state = (
        DELIVERED
        if not error
        else GIVEN_UP
        if attempts >= ATTEMPTS or row.hook_status != 1
        else WAITING
    )
    values = {"state": state, "attempts": attempts, "status": status, "error": error}
    async with context.store.begin() as connection:
        done = update(deliveries).where(deliveries.c.id == row.delivery)
        await connection.execute(done.values(**values, next_ms=at + pause_ms(attempts)))
    if error:
        _log.warning(
            "webhook_failed",
            delivery=ids.to_text("delivery", row.delivery),
            attempts=attempts,
            reason=error,
        )
