"""Usage, request log and audit log: exactly what is in the store, and only to whom it belongs."""

from decimal import Decimal

import pytest

from nemorouter import ids
from nemorouter.errors import Code, ForbiddenError, NotFoundError, RefusedError
from nemorouter.roles import Actor
from nemorouter.services.budgets import budgets
from nemorouter.services.budgets.budgets import NewBudget
from nemorouter.services.reports import audit, logs, overview, usage
from nemorouter.services.reports.logs import LogFilter
from nemorouter.services.scopes import keys
from nemorouter.services.scopes.teams import list_teams
from nemorouter.services.transaction.clock import now_ms
from nemorouter.services.transaction.context import Context
from nemorouter.store.ledger import record
from nemorouter.store.sums import DAY_MS, month_of
from nemorouter.types import Kind
from tests.support.installation import scalar
from tests.support.rows import row
from tests.support.sql import sql

AT = now_ms() - 1000


@pytest.fixture
async def used(context: Context, owner: Actor, member: Actor) -> list[int]:
    """Make seven requests by two keys, one of the owner's and one of the member's.

    The fourth is without a price.
    """
    made = [await keys.create(context, who, keys.NewKey(name=who.name)) for who in (owner, member)]
    key_ids = [ids.from_text("key", one.view.id) for one in made]
    team = ids.from_text("team", made[0].view.team_id)
    rows = [
        row(
            seq=n,
            at_ms=AT - n * DAY_MS,
            key_id=key_ids[n % 2],
            team_id=team,
            user_id=member.user if n % 2 else 0,
            org_id=owner.org,
            model="m" if n < 4 else "n",
            cost_nano=None if n == 3 else 1_000 + n,
        )
        for n in range(7)
    ]
    assert await record(context.store, rows) == 7
    return key_ids


async def test_usage_is_the_sum_of_the_rows(
    context: Context, owner: Actor, used: list[int]
) -> None:
    for group in usage.GROUPS:
        rows = await usage.usage(context, owner, group_by=group)
        assert sum(row.requests for row in rows) == 7
        assert sum(row.input_tokens for row in rows) == 70
        assert sum(row.unknown_cost for row in rows) == 1
        assert sum(round(float(row.cost) * 1e9) for row in rows) == 6_018
    by_key = await usage.usage(context, owner, group_by="key")
    assert [row.day for row in by_key] == sorted(row.day for row in by_key)
    assert {row.name for row in by_key} == {"cli", "member@acme.test"}
    today = by_key[-1].day
    assert [row.cost for row in await usage.usage(context, owner, since=today)] == ["0.000001"]


async def test_a_member_sees_their_own(
    context: Context, owner: Actor, member: Actor, used: list[int]
) -> None:
    assert sum(row.requests for row in await usage.usage(context, member)) == 3
    assert {row.key_name for row in (await logs.logs(context, member)).data} == {"member@acme.test"}
    with pytest.raises(RefusedError, match="no key"):
        await logs.logs(context, member, LogFilter(key="cli"))
    with pytest.raises(ForbiddenError):
        await audit.verify_audit(context, member)


async def test_another_tenant_sees_nothing(
    context: Context, stranger: Actor, used: list[int]
) -> None:
    assert await usage.usage(context, stranger) == []
    assert (await logs.logs(context, stranger)).data == []


@pytest.mark.parametrize(
    "bad", [{"group_by": "x"}, {"since": "yesterday"}, {"since": "2020-01-01"}, {"until": "x"}]
)
async def test_bad_ranges_are_refused(bad: dict[str, str], context: Context, owner: Actor) -> None:
    with pytest.raises(RefusedError):
        await usage.usage(context, owner, **bad)


async def test_log_pages_hold_every_row_once(
    context: Context, owner: Actor, used: list[int]
) -> None:
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(4):
        page = await logs.logs(context, owner, limit=2, cursor=cursor)
        seen += [row.request_id for row in page.data]
        cursor = page.next_cursor
    assert cursor is None
    assert seen == [ids.request_text(77, n) for n in range(7)]


async def test_a_log_row_says_it_all(context: Context, owner: Actor, used: list[int]) -> None:
    row = (await logs.logs(context, owner, limit=1)).data[0]
    assert (row.key_name, row.model, row.upstream, row.endpoint) == (
        "cli",
        "m",
        "echo",
        "/v1/chat/completions",
    )
    assert (row.status, row.outcome, row.stream, row.cost) == (200, "ok", False, "0.000001")
    assert (row.input_tokens, row.cached_tokens, row.output_tokens) == (10, 4, 5)
    assert (row.latency_ms, row.ttft_ms, row.user_id) == (1.5, None, None)
    assert row.alias.startswith("sk-...")


async def test_log_filters(context: Context, owner: Actor, used: list[int]) -> None:
    async def count(**fields: str | int) -> int:
        return len((await logs.logs(context, owner, LogFilter(**fields))).data)  # type: ignore[arg-type]

    assert await count(key="cli") == 4
    assert await count(team="Default") == 7
    assert await count(model="n") == 3
    assert await count(outcome="ok") == 7
    assert await count(outcome="timeout") == 0
    assert await count(status=500) == 0
    assert await count(since="2020-01-01", until="2020-01-02") == 0
    for bad in ({"outcome": "x"}, {"since": "x"}):
        with pytest.raises(RefusedError):
            await count(**bad)
    with pytest.raises(RefusedError, match="cursor"):
        await logs.logs(context, owner, cursor="1.2")


async def test_following_sees_what_ended_lately(
    context: Context, owner: Actor, used: list[int]
) -> None:
    ended = await logs.ended_since(context, owner, LogFilter(), AT - 1)
    assert [row.request_id for row in ended] == [ids.request_text(77, 0)]
    assert await logs.ended_since(context, owner, LogFilter(), AT + 2) == []


EDITS = {
    "changed": ("UPDATE audit SET action = 'key.created' WHERE seq = 2", 2),
    "actor": ("UPDATE audit SET actor = 'somebody' WHERE seq = 3", 3),
    "deleted": ("DELETE FROM audit WHERE seq = 2", 2),
    "cut off": ("DELETE FROM audit WHERE seq > 3", 4),
    "emptied": ("DELETE FROM audit", 1),
    "moved": ("UPDATE audit SET at_ms = at_ms + 1 WHERE seq = 1", 1),
}


@pytest.mark.parametrize("edit", EDITS)
async def test_every_edit_of_the_audit_log_shows(edit: str, context: Context, owner: Actor) -> None:
    await keys.create(context, owner, keys.NewKey(name="k"))
    sound = await audit.verify_audit(context, owner)
    assert sound.broken_at is None
    assert sound.events == await scalar(context, "SELECT count(*) FROM audit")
    statement, place = EDITS[edit]
    async with context.store.begin() as connection:
        await sql(connection, statement)
    assert (await audit.verify_audit(context, owner)).broken_at == place


async def test_an_older_copy_of_the_store_shows(context: Context, owner: Actor) -> None:
    async with context.store.read() as connection:
        head = (
            await sql(connection, "SELECT value FROM meta WHERE key = 'audit_head'")
        ).scalar_one()
        newest = (await sql(connection, "SELECT max(seq) FROM audit")).scalar_one()
    await keys.create(context, owner, keys.NewKey(name="k"))
    async with (
        context.store.begin() as connection
    ):  # what a restored copy looks like: its own head, whole in itself
        await sql(connection, "DELETE FROM audit WHERE seq > ?", (newest,))
        await sql(connection, "UPDATE meta SET value = ? WHERE key = 'audit_head'", (head,))
    assert (await audit.verify_audit(context, owner)).broken_at == newest + 1
    await keys.create(context, owner, keys.NewKey(name="another history"))
    assert (await audit.verify_audit(context, owner)).broken_at == newest + 1


async def test_the_audit_log_tells_who_did_what(context: Context, owner: Actor) -> None:
    who = Actor(org=owner.org, role=owner.role, name="a@b.c", source_ip="192.0.2.1")
    view = (await keys.create(context, who, keys.NewKey(name="k"))).view
    await keys.revoke(context, who, view.id)
    async with context.store.read() as connection:
        query = (
            "SELECT actor, source_ip, action, resource, before, after FROM audit "
            "ORDER BY seq DESC LIMIT 1"
        )
        event = (await sql(connection, query)).one()
    assert tuple(event[:4]) == ("a@b.c", "192.0.2.1", "key.revoked", view.id)
    assert (event.before, event.after) == ('{"status":"active"}', '{"status":"revoked"}')


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_a_narrow_filter_looks_at_so_many_rows_and_goes_on(
    context: Context, owner: Actor, used: list[int], monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(logs, "_LOOKED_AT", 3)
    first = await logs.logs(context, owner, LogFilter(model="n"), limit=limit)
    assert (first.data, first.next_cursor is None) == ([], False)
    seen = []
    cursor = first.next_cursor
    while cursor is not None:
        found = await logs.logs(context, owner, LogFilter(model="n"), limit=limit, cursor=cursor)
        seen += [row.request_id for row in found.data]
        cursor = found.next_cursor
    every = (await logs.logs(context, owner)).data
    assert seen == [row.request_id for row in every if row.model == "n"]
    assert len(seen) == 3


async def test_the_sums_of_owners_are_those_of_their_keys(
    context: Context, owner: Actor, member: Actor, used: list[int]
) -> None:
    by_org = await overview.daily(context, owner)
    assert [row.requests for row in by_org] == [1] * 7
    assert sum(Decimal(row.cost) for row in by_org) == Decimal("0.000006018")
    key = ids.to_text("key", used[1])
    assert sum(row.requests for row in await overview.daily(context, owner, Kind.KEY, key)) == 3
    assert sum(row.requests for row in await overview.daily(context, member)) == 3
    assert (
        sum(row.requests for row in await overview.daily(context, owner, Kind.TEAM, "Default")) == 7
    )
    assert (
        sum(row.requests for row in await overview.daily(context, member, Kind.TEAM, "Default"))
        == 3
    )
    with pytest.raises(RefusedError, match="no key"):
        await overview.daily(context, member, Kind.KEY, ids.to_text("key", used[0]))
    (team,) = [one for one in await list_teams(context, owner) if one.name == "Default"]
    assert team.spend == "0.000006018"


async def test_top_keys_are_those_of_this_month(
    context: Context, owner: Actor, member: Actor, used: list[int]
) -> None:
    month = month_of(now_ms() // DAY_MS)
    of_month = [n for n in range(7) if month_of((AT - n * DAY_MS) // DAY_MS) == month]
    found = await overview.top_keys(context, owner)
    assert sum(one.requests for one in found) == len(of_month)
    assert [Decimal(one.cost) for one in found] == sorted(
        (Decimal(one.cost) for one in found), reverse=True
    )
    assert {one.name for one in await overview.top_keys(context, member)} <= {"member@acme.test"}
    assert [one.requests for one in await overview.top_teams(context, owner)] == [len(of_month)]
    assert await overview.top_teams(context, member) == []


async def test_refusals_are_counted_for_who_may_see_them(
    context: Context, owner: Actor, member: Actor, used: list[int]
) -> None:
    async with context.store.begin() as connection:
        for key, count in ((used[0], 2), (used[1], 3)):
            values = (now_ms() // 60_000, key, int(Code.BUDGET_EXCEEDED), count)
            await sql(connection, "INSERT INTO refusals VALUES (?, ?, ?, ?)", values)
    assert [(one.code, one.count) for one in await overview.refused(context, owner)] == [
        ("budget_exceeded", 5)
    ]
    assert [one.count for one in await overview.refused(context, member)] == [3]
    assert [
        one.count for one in await overview.refused(context, owner, ids.to_text("key", used[0]))
    ] == [2]


async def test_budgets_near_their_cap(
    context: Context, owner: Actor, member: Actor, used: list[int]
) -> None:
    for kind, name, cap in ((Kind.ORG, owner.org, "0.000007"), (Kind.TEAM, "Default", "1")):
        reference = ids.to_text("org", name) if isinstance(name, int) else name
        await budgets.set_budget(
            context, owner, kind, reference, NewBudget(max_spend=cap, duration="total")
        )
    assert [one.kind for one in await budgets.near_cap(context, owner)] == ["org"]
    assert await budgets.near_cap(context, member) == []
    assert [one.name for one in (await budgets.page_all(context, owner)).data] == [
        "Acme",
        "Default",
    ]
    assert (await budgets.page_all(context, member)).data == []
    with pytest.raises(NotFoundError):
        await budgets.show_budget(context, member, Kind.TEAM, "Default")


@pytest.mark.parametrize("duration", ["daily", "weekly", "monthly", "total"])
async def test_a_budget_shows_the_same_spend_on_every_way(
    context: Context, owner: Actor, used: list[int], duration: str
) -> None:
    key = ids.to_text("key", used[0])
    org = ids.to_text("org", owner.org)
    for kind, reference in ((Kind.KEY, key), (Kind.TEAM, "Default"), (Kind.ORG, org)):
        budget = NewBudget(max_spend="1", duration=duration)
        direct = await budgets.set_budget(context, owner, kind, reference, budget)
        assert (await budgets.show_budget(context, owner, kind, reference)).budget == direct.budget
        assert direct.budget.spent != "0.00"
    view = await keys.show(context, owner, key)
    assert view.budget == (await budgets.show_budget(context, owner, Kind.KEY, key)).budget
