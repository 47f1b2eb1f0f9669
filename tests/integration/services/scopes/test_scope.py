"""Teams, people, the org and their budgets."""

from functools import partial
from typing import Any

import pytest

from nemorouter.errors import ConflictError, ForbiddenError, NotFoundError, RefusedError
from nemorouter.roles import Actor, Role
from nemorouter.services.budgets import budgets, prices
from nemorouter.services.fields.page import every
from nemorouter.services.fields.rates import rates_of
from nemorouter.services.scopes.limits import NewScope, ScopePatch
from nemorouter.services.scopes.scope import patch_scope
from nemorouter.services.scopes.teams import create_team, list_teams, page_teams
from nemorouter.services.scopes.users import NewMember, add_member, list_members, page_members
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.lookup import text_id
from nemorouter.store import policies
from nemorouter.types import Kind, Policy, Status, per_rate
from tests.support.installation import fields, scalar
from tests.support.sql import a_policy

DAILY = budgets.NewBudget(max_spend="1.5", duration="daily")


async def newest(context: Context) -> Policy | None:
    async with context.store.read() as connection:
        (change,) = await policies.changes_since(
            connection, await policies.change_seq(connection) - 1
        )
        return await a_policy(connection, change.kind, change.id)


async def test_a_team_with_limits(context: Context, owner: Actor) -> None:
    new = NewScope(name="Search", budget=DAILY, allowed_models=("o3",), **fields(tpm=1000))
    view = await create_team(context, owner, new)
    policy = await newest(context)
    assert policy is not None
    assert (policy.kind, policy.org, policy.limits, policy.cap) == (
        Kind.TEAM,
        owner.org,
        per_rate(tpm=1000),
        1_500_000_000,
    )
    assert policy.models == ("o3",)
    assert [team.name for team in await list_teams(context, owner)] == ["Default", "Search"]
    with pytest.raises(ConflictError, match="Another team has this name"):
        await create_team(context, owner, new)
    changed = await patch_scope(
        context, owner, Kind.TEAM, "Search", ScopePatch(status="disabled", **fields(tpm=None))
    )
    assert (changed.id, changed.status, rates_of(changed)["tpm"], changed.budget) == (
        view.id,
        "disabled",
        None,
        view.budget,
    )
    policy = await newest(context)
    assert policy is not None
    assert policy.status == Status.DISABLED


async def test_the_default_team_keeps_its_name(context: Context, owner: Actor) -> None:
    with pytest.raises(ConflictError, match="keeps its name"):
        await patch_scope(context, owner, Kind.TEAM, "Default", ScopePatch(name="Other"))
    await create_team(context, owner, NewScope(name="T"))
    with pytest.raises(ConflictError, match="Another team"):
        await patch_scope(context, owner, Kind.TEAM, "T", ScopePatch(name="Default"))


async def test_people(context: Context, owner: Actor, member: Actor) -> None:
    people = await list_members(context, owner)
    assert [person.email for person in people] == ["member@acme.test", "owner@acme.test"]
    with pytest.raises(ConflictError, match="Another user has this email"):
        await add_member(context, owner, NewMember(name="x", email="MEMBER@acme.test"))
    await patch_scope(context, owner, Kind.USER, "member@acme.test", ScopePatch(**fields(rpm=3)))
    policy = await newest(context)
    assert policy is not None
    assert (policy.kind, policy.id, policy.limits) == (Kind.USER, member.user, per_rate(rpm=3))
    assert (
        await scalar(context, f"SELECT role FROM memberships WHERE user_id = {member.user}")
        == Role.MEMBER
    )


async def test_only_owners_make_owners(context: Context, owner: Actor, member: Actor) -> None:
    admin = Actor(org=owner.org, role=Role.ADMIN, name="a")
    with pytest.raises(RefusedError, match="Only an owner"):
        await add_member(context, admin, NewMember(name="x", email="x@y.z", role="owner"))
    with pytest.raises(RefusedError, match="role must be"):
        await add_member(context, admin, NewMember(name="x", email="x@y.z", role="root"))
    with pytest.raises(ForbiddenError):
        await add_member(context, member, NewMember(name="x", email="x@y.z"))


@pytest.mark.parametrize("kind", list(Kind))
async def test_a_budget_at_every_level(
    kind: Kind, context: Context, owner: Actor, member: Actor
) -> None:
    from nemorouter.services.scopes import keys

    await keys.create(context, owner, keys.NewKey(name="k"))
    reference = {
        Kind.ORG: text_id(Kind.ORG, owner.org),
        Kind.TEAM: "Default",
        Kind.USER: "member@acme.test",
        Kind.KEY: "k",
    }[kind]
    found = await budgets.set_budget(context, owner, kind, reference, DAILY)
    assert (found.kind, found.budget.max_spend, found.budget.duration) == (
        kind.name.lower(),
        "1.50",
        "daily",
    )
    policy = await newest(context)
    assert policy is not None
    assert (policy.kind, policy.cap, policy.duration) == (kind, 1_500_000_000, 1)
    await budgets.set_budget(
        context, owner, kind, found.id, budgets.NewBudget(max_spend="0", duration="total")
    )
    (only,) = await budgets.list_budgets(context, owner)
    assert (only.id, only.budget.max_spend, only.budget.resets_at) == (found.id, "0.00", None)
    await budgets.clear_budget(context, owner, kind, reference)
    policy = await newest(context)
    assert policy is not None
    assert policy.cap is None
    with pytest.raises(NotFoundError, match="has no budget"):
        await budgets.clear_budget(context, owner, kind, reference)


async def test_another_tenants_scope_is_not_there(
    context: Context, owner: Actor, stranger: Actor
) -> None:
    org = text_id(Kind.ORG, owner.org)
    attempts: list[Any] = [
        budgets.set_budget(context, stranger, Kind.ORG, org, DAILY),
        budgets.set_budget(context, stranger, Kind.TEAM, "Default", DAILY),
        patch_scope(context, stranger, Kind.ORG, org, ScopePatch(**fields(rpm=1))),
        patch_scope(context, stranger, Kind.USER, "owner@acme.test", ScopePatch(**fields(rpm=1))),
    ]
    for attempt in attempts:
        with pytest.raises(NotFoundError):
            await attempt
    assert await list_teams(context, stranger) == []
    assert await budgets.list_budgets(context, stranger) == []


async def test_a_member_sets_no_budget(context: Context, member: Actor) -> None:
    with pytest.raises(ForbiddenError):
        await budgets.set_budget(context, member, Kind.USER, "member@acme.test", DAILY)


async def test_lists_come_in_pages(context: Context, owner: Actor, stranger: Actor) -> None:
    for number in range(7):
        team = await create_team(
            context, owner, NewScope(name=f"t{number}", budget=budgets.NewBudget(max_spend="1"))
        )
        await add_member(context, owner, NewMember(name="M", email=f"m{number}@acme.test"))
    asks: tuple[Any, ...] = (
        page_teams,
        page_members,
        budgets.page_all,
        prices.page_prices,
    )
    for ask in asks:
        whole: list[Any] = await every(partial(ask, context, owner))
        pages: list[Any] = []
        cursor = None
        while True:
            page = await ask(context, owner, limit=3, cursor=cursor)
            pages.append(page.data)
            cursor = page.next_cursor
            if cursor is None:
                break
        assert [one for page in pages for one in page] == whole
        assert [len(page) for page in pages[:-1]] == [3] * (len(pages) - 1)
        assert len(pages) > 2
        with pytest.raises(RefusedError):
            await ask(context, owner, limit=1001)
    for ask in asks[:2]:
        with pytest.raises(RefusedError, match="cursor"):
            await ask(context, owner, cursor="x")
    with pytest.raises(NotFoundError):
        await page_teams(context, stranger, cursor=team.id)
    for cursor in ("", "1", "0.1", "5.1", "x.y"):
        with pytest.raises(RefusedError, match="cursor"):
            await budgets.page_all(context, owner, cursor=cursor)
