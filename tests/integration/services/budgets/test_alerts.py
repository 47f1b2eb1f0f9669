"""Test budget alerts: 50, 80 and 100 %, once in each window, reported in the log."""

import pytest
import structlog
from structlog.testing import CapturingLogger

from nemorouter import ids
from nemorouter.datadir import set_aside
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.set_aside import Queue
from nemorouter.roles import Actor
from nemorouter.services.budgets import alerts, budgets
from nemorouter.services.budgets.budgets import NewBudget
from nemorouter.services.scopes import keys
from nemorouter.services.transaction.context import Context
from nemorouter.store.ledger import record
from nemorouter.store.sums import DAY_MS
from nemorouter.types import NANO, Kind
from tests.support.rows import row
from tests.support.sql import sql

DAY_ONE = 1_800_000_000_000


@pytest.fixture
async def key(context: Context, member: Actor) -> str:
    """Make a member's key with a daily budget of one dollar."""
    new = keys.NewKey(name="spender", budget=NewBudget(max_spend="1", duration="daily"))
    return (await keys.create(context, member, new)).view.id


async def _spend(
    context: Context, owner: Actor, member: Actor, key: str, cents: int, at_ms: int
) -> None:
    """Record one request of so many cents."""
    team = ids.from_text("team", (await keys.show(context, owner, key)).team_id)
    seq = ids.new_id() % (1 << 40)
    spent = row(
        seq=seq,
        at_ms=at_ms,
        key_id=ids.from_text("key", key),
        team_id=team,
        user_id=member.user,
        org_id=owner.org,
        cost_nano=cents * NANO // 100,
    )
    assert await record(context.store, [spent]) == 1


async def _found(context: Context, monkeypatch: pytest.MonkeyPatch, at_ms: int) -> int:
    monkeypatch.setattr(alerts, "now_ms", lambda: at_ms)
    return await alerts.find_alerts(context)


async def test_each_threshold_is_told_once_in_a_window(
    context: Context,
    owner: Actor,
    member: Actor,
    key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logged = CapturingLogger()
    monkeypatch.setattr(alerts, "_log", structlog.wrap_logger(logged, processors=[]))
    for cents, new in ((49, 0), (1, 1), (29, 0), (1, 1), (19, 0), (1, 1), (50, 0)):
        await _spend(context, owner, member, key, cents, DAY_ONE)
        assert await _found(context, monkeypatch, DAY_ONE) == new, cents
        assert await _found(context, monkeypatch, DAY_ONE) == 0
    shown = (await alerts.list_alerts(context, owner)).data
    assert [(one.threshold, one.spent, one.scope_id) for one in shown] == [
        (100, "1.00", key),
        (80, "0.80", key),
        (50, "0.50", key),
    ]
    told = [(one.method_name, one.kwargs["threshold"], one.kwargs["scope"]) for one in logged.calls]
    assert told == [("warning", one, key) for one in (50, 80, 100)]


async def test_another_cap_tells_nothing_twice_and_another_window_all_anew(
    context: Context, owner: Actor, member: Actor, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _spend(context, owner, member, key, 60, DAY_ONE)
    assert await _found(context, monkeypatch, DAY_ONE) == 1
    for cap in ("10", "1"):
        await budgets.set_budget(
            context, owner, Kind.KEY, key, NewBudget(max_spend=cap, duration="daily")
        )
        assert await _found(context, monkeypatch, DAY_ONE) == 0
    assert (
        await _found(context, monkeypatch, DAY_ONE + DAY_MS) == 0
    )  # nothing is spent of the new day's
    await _spend(context, owner, member, key, 60, DAY_ONE + DAY_MS)
    assert await _found(context, monkeypatch, DAY_ONE + DAY_MS) == 1
    assert len({one.window for one in (await alerts.list_alerts(context, owner)).data}) == 2


async def test_only_its_people_see_an_alert(
    context: Context,
    owner: Actor,
    member: Actor,
    stranger: Actor,
    key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    org = ids.to_text("org", owner.org)
    await budgets.set_budget(
        context, owner, Kind.ORG, org, NewBudget(max_spend="1", duration="daily")
    )
    await _spend(context, owner, member, key, 60, DAY_ONE)
    assert await _found(context, monkeypatch, DAY_ONE) == 2
    assert {one.kind for one in (await alerts.list_alerts(context, owner)).data} == {"key", "org"}
    assert [one.kind for one in (await alerts.list_alerts(context, member)).data] == ["key"]
    assert (await alerts.list_alerts(context, stranger)).data == []


async def test_a_budget_that_cannot_be_judged_hinders_no_other(
    context: Context, owner: Actor, member: Actor, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kind of row P1: one damaged budget silenced the alerts of all orgs."""
    await budgets.set_budget(
        context,
        owner,
        Kind.ORG,
        ids.to_text("org", owner.org),
        NewBudget(max_spend="5", duration="daily"),
    )
    async with context.store.begin() as connection:
        await sql(connection, "UPDATE budgets SET duration = 9 WHERE kind = 1")
    await _spend(context, owner, member, key, 60, DAY_ONE)
    assert await _found(context, monkeypatch, DAY_ONE) == 1
    data = DataDir(context.settings.data_dir)
    (item,) = set_aside.read(data, Queue.ALERTS).items
    assert item.name.endswith(f"of {ids.to_text('org', owner.org)}")
    async with context.store.begin() as connection:
        await sql(connection, "UPDATE budgets SET duration = 1 WHERE kind = 1")
    await _found(context, monkeypatch, DAY_ONE)
    assert set_aside.read(data, Queue.ALERTS).total == 0
