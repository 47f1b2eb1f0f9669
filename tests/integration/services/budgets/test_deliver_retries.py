"""Test deliveries to a receiver that fails, by a clock that the test moves."""

import threading
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from nemorouter import ids
from nemorouter.datadir import set_aside
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.set_aside import Queue
from nemorouter.roles import Actor
from nemorouter.services.budgets import deliver, webhooks
from nemorouter.services.budgets.deliver import ATTEMPTS, DELIVERED, GIVEN_UP, WAITING, pause_ms
from nemorouter.services.budgets.webhooks import Delivery
from nemorouter.services.transaction.context import Context
from nemorouter.store.schema import alerts, deliveries
from nemorouter.store.schema import webhooks as webhook_table
from nemorouter.types import Kind
from tests.support.receiver import receiver

NOON = 1_800_000_000_000


@pytest.fixture
def context(context: Context) -> Context:
    """Make an installation that allows a receiver on this machine."""
    settings = type(context.settings)(
        data_dir=context.settings.data_dir, webhook_private_addresses=True
    )
    return context._replace(settings=settings)


async def _queue(context: Context, owner: Actor, url: str) -> None:
    """One alert of the org, for a webhook at ``url``."""
    made = await webhooks.create(context, owner, webhooks.NewWebhook(url=url))
    alert: dict[str, Any] = {
        "id": ids.new_id(),
        "org_id": owner.org,
        "kind": int(Kind.ORG),
        "scope_id": owner.org,
    }
    alert |= {
        "duration": 1,
        "window_day": 1,
        "threshold": 50,
        "spent_nano": 1,
        "max_spend_nano": 2,
        "at_ms": NOON,
    }
    delivery = {
        "id": ids.new_id(),
        "webhook_id": ids.from_text("hook", made.view.id),
        "alert_id": alert["id"],
    }
    async with context.store.begin() as connection:
        await connection.execute(insert(alerts).values(**alert))
        await connection.execute(insert(deliveries).values(**delivery, next_ms=NOON))


async def _state(context: Context) -> tuple[int, int, int | None]:
    async with context.store.read() as connection:
        row = (await connection.execute(select(deliveries))).one()
    return row.state, row.attempts, row.status


async def test_a_failure_is_tried_again_when_its_pause_is_over(
    context: Context, owner: Actor
) -> None:
    with receiver(500, 302, 204) as (url, got):
        await _queue(context, owner, url)
        assert await deliver.deliver(context, lambda: NOON - 1) == 0
        assert (await webhooks.list_webhooks(context, owner))[0].last_delivery is None
        assert await deliver.deliver(context, lambda: NOON) == 1
        assert await _state(context) == (WAITING, 1, 500)
        (hook,) = await webhooks.list_webhooks(context, owner)
        assert hook.last_delivery == Delivery(
            state="waiting", attempts=1, status=500, error="The webhook answered 500."
        )
        second = NOON + pause_ms(1)
        assert await deliver.deliver(context, lambda: second - 1) == 0
        assert await deliver.deliver(context, lambda: second) == 1
        assert await _state(context) == (
            WAITING,
            2,
            302,
        )  # a redirect is no delivery, and is not followed
        third = second + pause_ms(2)
        assert await deliver.deliver(context, lambda: third - 1) == 0
        assert await deliver.deliver(context, lambda: third) == 1
        assert await _state(context) == (DELIVERED, 3, 204)
        (hook,) = await webhooks.list_webhooks(context, owner)
        assert hook.last_delivery == Delivery(state="delivered", attempts=3, status=204, error="")
        assert await deliver.deliver(context, lambda: third + 10 * pause_ms(9)) == 0
    stamps = [headers[deliver.SIGNATURE].partition(",")[0] for headers, _ in got]
    assert stamps == [f"t={at // 1000}" for at in (NOON, second, third)]
    assert (
        len({headers["x-nemo-delivery"] for headers, _ in got}) == 1
    )  # so that a receiver can tell a repetition


async def test_it_ends_after_the_last_try(context: Context, owner: Actor) -> None:
    at = NOON
    tries = []
    with receiver(503) as (url, got):
        await _queue(context, owner, url)
        while (await _state(context))[0] == WAITING:
            assert await deliver.deliver(context, lambda at=at: at) == 1  # type: ignore[misc]  # bound now
            tries.append(at)
            at += pause_ms(len(tries))
        assert await deliver.deliver(context, lambda: at + pause_ms(ATTEMPTS)) == 0
    assert await _state(context) == (GIVEN_UP, ATTEMPTS, 503)
    assert len(got) == len(tries) == ATTEMPTS
    assert 20 < (tries[-1] - tries[0]) / 3_600_000 < 40


async def test_a_receiver_that_is_gone_costs_a_try_and_a_deleted_one_the_rest(
    context: Context, owner: Actor
) -> None:
    with receiver(200) as (url, _):
        pass
    await _queue(context, owner, url)
    assert await deliver.deliver(context, lambda: NOON) == 1
    assert await _state(context) == (WAITING, 1, None)
    (hook,) = await webhooks.list_webhooks(context, owner)
    await webhooks.delete_webhook(context, owner, hook.id)
    assert await deliver.deliver(context, lambda: NOON + pause_ms(1)) == 1
    assert await _state(context) == (GIVEN_UP, 2, None)


async def test_a_receiver_that_is_slow_holds_up_no_other(context: Context, owner: Actor) -> None:
    met = threading.Barrier(2, timeout=20)  # each answers only when the other was asked as well
    with (
        receiver(200, before=met.wait) as (one, got),
        receiver(200, before=met.wait) as (two, more),
    ):
        await _queue(context, owner, one)
        await webhooks.create(context, owner, webhooks.NewWebhook(url=two))
        async with context.store.begin() as connection:
            (hook,) = [
                row.id
                for row in await connection.execute(
                    select(webhook_table).where(webhook_table.c.url == two)
                )
            ]
            (alert,) = (await connection.execute(select(alerts.c.id))).one()
            second = {"id": ids.new_id(), "webhook_id": hook, "alert_id": alert, "next_ms": NOON}
            await connection.execute(insert(deliveries).values(**second))
        assert await deliver.deliver(context, lambda: NOON) == 2
    assert len(got) == len(more) == 1


async def test_what_a_process_took_and_died_with_is_tried_by_another(
    context: Context, owner: Actor
) -> None:
    with receiver(200) as (url, got):
        await _queue(context, owner, url)
        taken = await deliver._claim(context, NOON)
        assert len(taken) == 1
        assert await deliver.deliver(context, lambda: NOON + 1000) == 0
        assert await deliver.deliver(context, lambda: NOON + 600_000) == 1
    assert len(got) == 1


async def test_a_clock_set_back_only_delays(context: Context, owner: Actor) -> None:
    with receiver(500, 200) as (url, _):
        await _queue(context, owner, url)
        assert await deliver.deliver(context, lambda: NOON) == 1
        assert await deliver.deliver(context, lambda: NOON - 3_600_000) == 0
        async with context.store.begin() as connection:
            await connection.execute(update(deliveries).values(next_ms=NOON - 3_600_000))
        assert await deliver.deliver(context, lambda: NOON - 3_600_000) == 1
    assert (await _state(context))[0] == DELIVERED


async def test_a_delivery_that_cannot_be_made_holds_up_no_other(
    context: Context, owner: Actor
) -> None:
    """The kind of row P1: a damaged alert is tried as often as others, and named by doctor."""
    with receiver(200) as (url, got):
        await _queue(context, owner, url)
        async with context.store.begin() as connection:
            await connection.execute(update(alerts).values(duration=9))
        await _queue(context, owner, url)
        assert await deliver.deliver(context, lambda: NOON) == 2
    assert len(got) == 1
    async with context.store.read() as connection:
        rows = (await connection.execute(select(deliveries).order_by(deliveries.c.id))).all()
    assert [(row.state, row.attempts, row.error) for row in rows] == [
        (WAITING, 1, "The delivery could not be made."),
        (DELIVERED, 1, ""),
    ]
    (item,) = set_aside.read(DataDir(context.settings.data_dir), Queue.DELIVERIES).items
    assert item.name == ids.to_text("delivery", rows[0].id)
