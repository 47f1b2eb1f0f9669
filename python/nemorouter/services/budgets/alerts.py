"""Raise budget alerts at 50, 80 and 100 % of a budget, once in each window.

Alerts are found from the sums, never by a request.
"""

from typing import Any, Final

import msgspec
from sqlalchemy import Row, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter import ids
from nemorouter.datadir import set_aside
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.set_aside import Item, Queue
from nemorouter.log import get_logger
from nemorouter.roles import Actor, Visibility, require
from nemorouter.services.fields.page import Page, checked, cursor_id, page
from nemorouter.services.fields.values import usd_text
from nemorouter.services.fields.views import Spend, spends
from nemorouter.services.transaction.clock import day_text, iso, now_ms
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.lookup import TABLES, text_id
from nemorouter.store.schema import alerts, budgets, deliveries, keys, webhooks
from nemorouter.store.sums import DAY_MS, window_days
from nemorouter.types import Duration, Kind, Status

THRESHOLDS: Final = (50, 80, 100)
_BATCH: Final = 1000
_SAME: Final = ("kind", "scope_id", "duration", "window_day", "threshold")

_log = get_logger(__name__)


class AlertView(msgspec.Struct, frozen=True, kw_only=True):
    """``threshold``: per cent of the budget that was reached. ``window``: its first day."""

    id: str
    at: str | None
    kind: str
    scope_id: str
    name: str
    threshold: int
    spent: str
    max_spend: str
    duration: str
    window: str


async def list_alerts(
    context: Context, actor: Actor, *, limit: int = 100, cursor: str | None = None
) -> Page[AlertView]:
    """List the org's alerts, newest first; a member sees those of their own keys."""
    visibility = require(actor, "alert.read")
    query = (
        select(alerts)
        .where(alerts.c.org_id == actor.org)
        .order_by(alerts.c.id.desc())
        .limit(checked(limit) + 1)
    )
    if visibility is Visibility.OWN:
        mine = select(keys.c.id).where(keys.c.user_id == actor.user)
        query = query.where(alerts.c.kind == int(Kind.KEY), alerts.c.scope_id.in_(mine))
    if cursor is not None:
        query = query.where(alerts.c.id < cursor_id("alert", cursor))
    async with context.store.read() as connection:
        rows, after = page(list((await connection.execute(query)).all()), limit)
        names = await _names(connection, rows)
    found = [alert_view(row, names.get((row.kind, row.scope_id), "")) for row in rows]
    return Page(data=found, next_cursor=ids.to_text("alert", after.id) if after else None)


async def find_alerts(context: Context) -> int:
    """Look at every budget, write what is new, queue its deliveries. Answers how many are new."""
    count = 0
    after = 0
    at = now_ms()
    damaged: list[Item] = []
    while True:
        async with context.store.read() as connection:
            query = select(budgets).where(budgets.c.id > after).order_by(budgets.c.id).limit(_BATCH)
            batch = list((await connection.execute(query)).all())
            reached = [
                row for kind in Kind for row in await _reached(connection, kind, batch, at, damaged)
            ]
            known = await _known(connection, reached)
        fresh = [row for row in reached if _same(row) not in known]
        if fresh:
            count += await _write(context, fresh)
        if len(batch) < _BATCH:
            break
        after = batch[-1].id
    data = DataDir(context.settings.data_dir)
    mended = {item.name for item in set_aside.read(data, Queue.ALERTS).items}
    set_aside.update(data, Queue.ALERTS, damaged, mended)
    return count


async def _reached(
    connection: AsyncConnection, kind: Kind, batch: list[Row[Any]], at: int, damaged: list[Item]
) -> list[dict[str, Any]]:
    """List every threshold that a budget of this kind has reached in its window.

    A budget that cannot be judged is added to ``damaged``: it hinders no other.
    """
    rows = [row for row in batch if row.kind == kind]
    spent = await spends(connection, kind, [row.scope_id for row in rows], at) if rows else {}
    found: list[dict[str, Any]] = []
    for row in rows:
        try:
            found += _thresholds(row, spent.get(row.scope_id, Spend()), at)
        except Exception as error:
            damaged.append(
                Item(f"the budget {row.id} of {text_id(kind, row.scope_id)}", str(error))
            )
    return found


def _thresholds(row: Row[Any], spent: Spend, at: int) -> list[dict[str, Any]]:
    """List the thresholds of one budget that were reached, as rows of alerts."""
    nano = spent.within(Duration(row.duration))
    return [
        {
            "kind": row.kind,
            "scope_id": row.scope_id,
            "duration": row.duration,
            "window_day": window_days(row.duration, at // DAY_MS)[0],
            "threshold": threshold,
            "spent_nano": nano,
            "max_spend_nano": row.max_spend_nano,
            "at_ms": at,
        }
        for threshold in THRESHOLDS
        if nano * 100 >= row.max_spend_nano * threshold and nano
    ]


async def _known(connection: AsyncConnection, rows: list[dict[str, Any]]) -> set[tuple[int, ...]]:
    """Return those of the alerts that were sent already."""
    table = alerts.c
    known: set[tuple[int, ...]] = set()
    for start in range(0, len(rows), 500):
        some = rows[start : start + 500]
        query = select(*(table[name] for name in _SAME)).where(
            table.kind.in_({row["kind"] for row in some}),
            table.scope_id.in_({row["scope_id"] for row in some}),
            table.window_day >= min(row["window_day"] for row in some),
        )
        known |= {tuple(row) for row in await connection.execute(query)}
    return known


def _same(row: dict[str, Any]) -> tuple[int, ...]:
    return tuple(row[name] for name in _SAME)


async def _write(context: Context, fresh: list[dict[str, Any]]) -> int:
    """Write the alerts that no other process has written.

    Each webhook of the org gets a delivery.
    """
    written = []
    async with context.store.begin() as connection:
        for row in fresh:
            if _same(row) in await _known(connection, [row]):
                continue
            table = TABLES[Kind(row["kind"])]
            owner = table.c.id if row["kind"] == Kind.ORG else table.c.org_id
            org = (
                await connection.execute(select(owner).where(table.c.id == row["scope_id"]))
            ).scalar()
            if org is None:
                continue
            row |= {"id": ids.new_id(), "org_id": org}
            await connection.execute(insert(alerts).values(**row))
            hooks = select(webhooks.c.id).where(
                webhooks.c.org_id == org, webhooks.c.status == int(Status.ACTIVE)
            )
            for hook in (await connection.execute(hooks)).scalars().all():
                delivery = {
                    "id": ids.new_id(),
                    "webhook_id": hook,
                    "alert_id": row["id"],
                    "next_ms": row["at_ms"],
                }
                await connection.execute(insert(deliveries).values(**delivery))
            written.append(row)
    for row in written:
        scope = text_id(Kind(row["kind"]), row["scope_id"])
        spent = usd_text(row["spent_nano"])
        most = usd_text(row["max_spend_nano"])
        _log.warning(
            "budget_alert", scope=scope, threshold=row["threshold"], spent=spent, max_spend=most
        )
    return len(written)


async def _names(connection: AsyncConnection, rows: list[Row[Any]]) -> dict[tuple[int, int], str]:
    names: dict[tuple[int, int], str] = {}
    for kind in {row.kind for row in rows}:
        table = TABLES[Kind(kind)]
        wanted = [row.scope_id for row in rows if row.kind == kind]
        found = await connection.execute(
            select(table.c.id, table.c.name).where(table.c.id.in_(wanted))
        )
        names |= {(kind, id): name for id, name in found}
    return names


def alert_view(row: Row[Any], name: str) -> AlertView:
    """Convert an alert into its public form."""
    return AlertView(
        id=ids.to_text("alert", row.id),
        at=iso(row.at_ms),
        kind=Kind(row.kind).name.lower(),
        scope_id=text_id(Kind(row.kind), row.scope_id),
        name=name,
        threshold=row.threshold,
        spent=usd_text(row.spent_nano),
        max_spend=usd_text(row.max_spend_nano),
        duration=Duration(row.duration).name.lower(),
        window=day_text(row.window_day),
    )
