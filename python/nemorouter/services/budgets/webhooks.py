"""Manage the addresses to which an org's budget alerts are posted.

The signing secret is derived, and stands in no table.
"""

import secrets
from enum import IntEnum
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from blake3 import blake3
from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter import ids
from nemorouter.errors import ConflictError, NotFoundError, RefusedError
from nemorouter.roles import Actor, require
from nemorouter.services.transaction.clock import iso
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.unit import change
from nemorouter.store.schema import deliveries, webhooks
from nemorouter.types import Status

MOST: Final = 20
MAX_URL: Final = 2000


class DeliveryState(IntEnum):
    """The numbers are stored."""

    WAITING = 1
    DELIVERED = 2
    GIVEN_UP = 3


class NewWebhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An ``https://`` URL; ``http://`` only where the operator allows private addresses."""

    url: str


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """The delivery of an alert: ``waiting`` for its next try, ``delivered`` or ``given_up``.

    ``status`` is the receiver's.
    """

    state: str
    attempts: int
    status: int | None
    error: str


class WebhookView(msgspec.Struct, frozen=True, kw_only=True):
    """``last_delivery``: the newest that was tried; None before the first."""

    id: str
    url: str
    created_by: str
    created_at: str | None
    last_delivery: Delivery | None = None


class IssuedWebhook(msgspec.Struct, frozen=True):
    """The one time that the signing secret is told."""

    secret: str
    view: WebhookView

    def __repr__(self) -> str:
        return f"CreatedWebhook({self.view.id})"


async def create(context: Context, actor: Actor, new: NewWebhook) -> IssuedWebhook:
    """Add a URL. What it resolves to is checked at each delivery, not here."""
    async with change(context, actor, "webhook.create") as unit:
        url = _url(new.url, private=context.settings.webhook_private_addresses)
        live = select(webhooks).where(
            webhooks.c.org_id == actor.org, webhooks.c.status == int(Status.ACTIVE)
        )
        there = (await unit.connection.execute(live)).all()
        if len(there) >= MOST:
            raise ConflictError(f"An org has at most {MOST} webhooks.", field="url")
        row = {
            "id": ids.new_id(),
            "org_id": actor.org,
            "url": url,
            "salt": secrets.token_hex(16),
            "created_by": actor.name,
            "created_ms": unit.now_ms,
        }
        await unit.connection.execute(insert(webhooks).values(**row))
        view = _view(
            (
                await unit.connection.execute(select(webhooks).where(webhooks.c.id == row["id"]))
            ).one()
        )
        await unit.record("webhook.created", view.id, None, view)
    return IssuedWebhook(signing_secret(context, str(row["salt"])), view)


async def list_webhooks(context: Context, actor: Actor) -> list[WebhookView]:
    """List the org's webhooks, oldest first, without their secrets."""
    require(actor, "webhook.read")
    query = select(webhooks).where(
        webhooks.c.org_id == actor.org, webhooks.c.status == int(Status.ACTIVE)
    )
    async with context.store.read() as connection:
        rows = (await connection.execute(query.order_by(webhooks.c.id))).all()
        return [_view(row, await _last(connection, row.id)) for row in rows]


async def delete_webhook(context: Context, actor: Actor, reference: str) -> None:
    """Nothing is posted there any more. NotFoundError: there is none."""
    async with change(context, actor, "webhook.delete") as unit:
        try:
            id = ids.from_text("hook", reference)
        except ValueError:
            raise NotFoundError(f"There is no webhook {reference!r}.") from None
        mine = (
            (webhooks.c.id == id)
            & (webhooks.c.org_id == actor.org)
            & (webhooks.c.status == int(Status.ACTIVE))
        )
        row = (await unit.connection.execute(select(webhooks).where(mine))).first()
        if row is None:
            raise NotFoundError(f"There is no webhook {reference!r}.")
        await unit.connection.execute(
            update(webhooks).where(mine).values(status=int(Status.REVOKED))
        )
        await unit.record("webhook.deleted", reference, _view(row))


def signing_secret(context: Context, salt: str) -> str:
    """Derive the secret that signs the deliveries of one webhook."""
    return (
        "whsec_"
        + blake3(b"nemorouter webhook\0" + salt.encode(), key=context.audit_key).hexdigest()
    )


def _url(text: str, *, private: bool) -> str:
    """Return the URL if it may be posted to. RefusedError: it may not."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise RefusedError("url is not a URL.", field="url") from None
    good = url.scheme == "https" or (url.scheme == "http" and private)
    if not good or not url.hostname or "@" in url.netloc or url.fragment or port == 0:
        schemes = "http:// or https://" if private else "https://"
        raise RefusedError(
            f"url must be {schemes}host/path, without credentials and fragment.", field="url"
        )
    if len(text) > MAX_URL or not text.isascii() or not text.isprintable() or " " in text:
        raise RefusedError(f"url must be at most {MAX_URL} plain characters.", field="url")
    return text


async def _last(connection: AsyncConnection, hook: int) -> Delivery | None:
    """Return the newest delivery that was tried."""
    tried = select(deliveries).where(deliveries.c.webhook_id == hook, deliveries.c.attempts > 0)
    row = (await connection.execute(tried.order_by(deliveries.c.id.desc()).limit(1))).first()
    if row is None:
        return None
    state = DeliveryState(row.state).name.lower()
    return Delivery(state=state, attempts=row.attempts, status=row.status, error=row.error)


def _view(row: Row[Any], last: Delivery | None = None) -> WebhookView:
    return WebhookView(
        id=ids.to_text("hook", row.id),
        url=row.url,
        created_by=row.created_by,
        created_at=iso(row.created_ms),
        last_delivery=last,
    )
