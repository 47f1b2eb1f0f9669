"""``/alerts`` and ``/webhooks``."""

from typing import Final

import msgspec

from nemorouter.control.api.call import Call, Paging, Route
from nemorouter.services.budgets import alerts, webhooks
from nemorouter.services.fields.page import Page, sliced


class CreatedWebhook(webhooks.WebhookView, frozen=True, kw_only=True):
    """A webhook with the ``secret`` that signs what is sent.

    The secret is answered once; it is ``null`` when an ``Idempotency-Key`` is replayed.
    """

    secret: str | None


async def list_alerts(call: Call) -> Page[alerts.AlertView]:
    return await alerts.list_alerts(
        call.context, call.actor, limit=call.query.limit, cursor=call.query.cursor
    )


async def list_webhooks(call: Call) -> Page[webhooks.WebhookView]:
    return sliced(
        await webhooks.list_webhooks(call.context, call.actor), call.query.limit, call.query.cursor
    )


async def create_webhook(call: Call) -> CreatedWebhook:
    created = await webhooks.create(call.context, call.actor, call.body)
    return CreatedWebhook(**msgspec.structs.asdict(created.view), secret=created.secret)


async def delete_webhook(call: Call) -> None:
    await webhooks.delete_webhook(call.context, call.actor, call.id)


ROUTES: Final = (
    Route(
        method="GET",
        path="/alerts",
        about="Budgets that reached 50, 80 or 100 %, newest first",
        work=list_alerts,
        query=Paging,
        answer=Page[alerts.AlertView],
    ),
    Route(
        method="GET",
        path="/webhooks",
        about="List webhooks",
        work=list_webhooks,
        query=Paging,
        answer=Page[webhooks.WebhookView],
    ),
    Route(
        method="POST",
        path="/webhooks",
        about="Have alerts posted to a URL; the answer tells the signing secret once",
        work=create_webhook,
        body=webhooks.NewWebhook,
        answer=CreatedWebhook,
        status=201,
    ),
    Route(
        method="DELETE",
        path="/webhooks/{id}",
        about="Post no more alerts to this URL",
        work=delete_webhook,
        answer=None,
        status=204,
    ),
)
