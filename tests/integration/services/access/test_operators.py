"""Test that only operators manage the installation, whatever roles a person has in an org."""

from typing import Any

import msgspec
import pytest

from nemorouter import ids
from nemorouter.errors import ConflictError, ForbiddenError, NotFoundError, RefusedError
from nemorouter.roles import OPERATOR_ACTIONS, Actor, Role
from nemorouter.services.access import management, operators, people, reset, sessions
from nemorouter.services.access.management import NewManagementKey
from nemorouter.services.access.operators import NewOperator
from nemorouter.services.budgets import prices
from nemorouter.services.operations import bootstrap, hosts, peppers
from nemorouter.services.reports import audit
from nemorouter.services.reports.audit import AuditFilter
from nemorouter.services.scopes import keys
from nemorouter.services.scopes.limits import NewScope
from nemorouter.services.scopes.scope import show_scope
from nemorouter.services.scopes.teams import create_team
from nemorouter.services.scopes.users import NewMember, add_member
from nemorouter.services.transaction.context import Context
from nemorouter.types import Kind
from tests.support.installation import scalar


async def signed(context: Context, email: str, org: int, role: str = "owner") -> Actor:
    """Make a user of an org, as a browser's session makes the user known."""
    local = Actor(org=org, role=Role.OWNER, name="test")
    made = await add_member(context, local, NewMember(name=email, email=email, role=role))
    return await again(context, ids.from_text("user", made.id), org)


async def again(context: Context, user: int, org: int) -> Actor:
    async with context.store.begin() as connection:
        cookie = await sessions.begin(connection, context, user, org, "192.0.2.9")
    found = await sessions.find(context, cookie, "192.0.2.9")
    assert found is not None
    return found.actor


CALLS: dict[str, Any] = {
    "price.set": lambda c, a: prices.set_price(c, a, prices.Price(model="echo", input="9")),
    "price.set, many": lambda c, a: prices.import_prices(c, a, prices.builtin_prices()),
    "price.delete": lambda c, a: prices.delete_price(c, a, "echo"),
    "host.read": hosts.list_hosts,
    "host.forget": lambda c, a: hosts.forget(c, a, "host"),
    "host.forget, all": hosts.reset,
    "audit.verify": audit.verify_audit,
    "operator.read": operators.list_operators,
    "operator.set": lambda c, a: operators.add_operator(c, a, NewOperator(email="owner@acme.test")),
    "operator.set, off": lambda c, a: operators.remove_operator(c, a, "owner@acme.test"),
    "pepper.rotate": peppers.rotate,
}


def test_every_action_of_operators_is_tried() -> None:
    assert {name.partition(",")[0] for name in CALLS} == OPERATOR_ACTIONS - {"org.create"}


@pytest.mark.parametrize("call", CALLS)
async def test_an_owner_of_another_org_may_not(
    context: Context, neighbour: Actor, call: str
) -> None:
    eve = await signed(context, "eve@example.org", neighbour.org)
    before = await scalar(context, "SELECT count(*) FROM audit")
    with pytest.raises(ForbiddenError, match="operator"):
        await CALLS[call](context, eve)
    assert await scalar(context, "SELECT count(*) FROM audit") == before


async def test_the_owners_of_the_first_org_are_operators_to_begin_with(
    context: Context, owner: Actor, neighbour: Actor
) -> None:
    assert (await signed(context, "ada@acme.test", owner.org)).operator
    assert not (await signed(context, "bob@acme.test", owner.org, "admin")).operator
    assert not (await signed(context, "eve@example.org", neighbour.org)).operator
    listed = await operators.list_operators(context, owner)
    assert [(one.email, one.by_role) for one in listed] == [
        ("ada@acme.test", True),
        ("owner@acme.test", True),
    ]


async def test_an_operator_is_made_and_unmade_by_operators(
    context: Context, owner: Actor, neighbour: Actor
) -> None:
    eve = await signed(context, "eve@example.org", neighbour.org, "viewer")
    made = await operators.add_operator(context, owner, NewOperator(email="Eve@example.org"))
    assert (made.org_name, made.by_role) == ("Next", False)
    eve = await again(context, eve.user, neighbour.org)
    await prices.set_price(context, eve, prices.Price(model="m", input="1"))
    with pytest.raises(ForbiddenError):
        await keys.create(context, eve, keys.NewKey(name="k"))  # still a viewer
    await operators.remove_operator(context, eve, "owner@acme.test")
    await operators.remove_operator(context, eve, made.id)
    assert not (await again(context, eve.user, neighbour.org)).operator
    assert await operators.list_operators(context, owner) == []
    with pytest.raises(NotFoundError):
        await operators.remove_operator(context, owner, "eve@example.org")
    with pytest.raises(NotFoundError):
        await operators.add_operator(context, owner, NewOperator(email="nobody@example.org"))
    told = await audit.list_audit(context, neighbour, AuditFilter(action="operator"))
    assert [event.action for event in told.data] == ["operator.removed", "operator.added"]


async def test_a_removed_or_demoted_owner_is_no_operator(context: Context, owner: Actor) -> None:
    ada = await signed(context, "ada@acme.test", owner.org)
    await people.patch_member(context, owner, "ada@acme.test", people.MemberPatch(role="admin"))
    assert not (await again(context, ada.user, owner.org)).operator


async def test_a_management_key_is_an_operator_s_only_if_its_person_is_one(
    context: Context, owner: Actor, neighbour: Actor
) -> None:
    async def acts(key: str) -> bool:
        found = await sessions.find_management_key(context, key, "")
        assert found is not None
        return found.actor.operator

    ada = await signed(context, "ada@acme.test", owner.org)
    full = await management.create(context, ada, NewManagementKey(name="full"))
    small = await management.create(context, ada, NewManagementKey(name="small", operator=False))
    assert (full.view.operator, small.view.operator) == (True, False)
    assert (await acts(full.key), await acts(small.key)) == (True, False)
    await operators.remove_operator(context, owner, "ada@acme.test")
    assert not await acts(full.key)
    eve = await signed(context, "eve@example.org", neighbour.org)
    plain = await management.create(context, eve, NewManagementKey(name="plain"))
    with pytest.raises(ForbiddenError):
        await management.create(context, eve, NewManagementKey(name="more", operator=True))
    await operators.add_operator(context, owner, NewOperator(email="eve@example.org"))
    assert not await acts(plain.key), "made before: its maker did not mean it so"


async def test_nobody_takes_over_an_operator_by_a_reset_link(
    context: Context, owner: Actor, neighbour: Actor
) -> None:
    await signed(context, "member@example.org", neighbour.org, "member")
    await reset.issue(context, neighbour, "member@example.org")
    await operators.add_operator(context, owner, NewOperator(email="member@example.org"))
    with pytest.raises(RefusedError, match="Only an operator"):
        await reset.issue(context, neighbour, "member@example.org")


async def test_all_orgs_see_what_was_done_to_the_installation(
    context: Context, owner: Actor, neighbour: Actor
) -> None:
    """Budgets of others were voided, with nothing in their audit log."""
    ada = await signed(context, "ada@acme.test", owner.org)
    await prices.set_price(context, ada, prices.Price(model="echo", input="9"))
    await prices.delete_price(context, ada, "echo")
    await create_team(context, ada, NewScope(name="Secret"))
    seen = (await audit.list_audit(context, neighbour)).data
    assert [(event.action, event.actor, event.source_ip) for event in seen[:2]] == [
        ("price.deleted", "operator", ""),
        ("price.set", "operator", ""),
    ]
    assert seen[1].after is not None
    assert "Secret" not in str(seen)
    mine = (await audit.list_audit(context, ada)).data
    assert [(event.action, event.actor) for event in mine[:3]] == [
        ("team.created", "ada@acme.test"),
        ("price.deleted", "ada@acme.test"),
        ("price.set", "ada@acme.test"),
    ]
    assert len({event.seq for event in mine}) == len(mine)


async def test_a_filter_tells_nothing_of_who_the_operator_is(
    context: Context, owner: Actor, neighbour: Actor
) -> None:
    ada = await signed(context, "ada@acme.test", owner.org)
    await prices.set_price(context, ada, prices.Price(model="echo", input="9"))

    async def count(actor: str) -> int:
        where = AuditFilter(actor=actor, action="price.set")
        return len((await audit.list_audit(context, neighbour, where)).data)

    assert (await count("ada@acme.test"), await count("operator")) == (0, 1)


async def test_pages_of_both_kinds_of_events_leave_none_out(
    context: Context, owner: Actor, neighbour: Actor
) -> None:
    for number in range(5):
        await prices.set_price(context, owner, prices.Price(model="echo", input=f"{number + 1}"))
        await create_team(context, neighbour, NewScope(name=f"t{number}"))
    whole = [event.seq for event in (await audit.list_audit(context, neighbour)).data]
    found: list[int] = []
    cursor = None
    while True:
        page = await audit.list_audit(context, neighbour, limit=3, cursor=cursor)
        found += [event.seq for event in page.data]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == whole == sorted(set(whole), reverse=True)
    assert len(found) >= 10


def small(context: Context, **settings: Any) -> Context:
    return context._replace(settings=msgspec.structs.replace(context.settings, **settings))


async def test_one_org_cannot_fill_the_installation(
    context: Context, owner: Actor, neighbour: Actor
) -> None:
    """Any member filled the arena for all."""
    context = small(context, capacity=40)
    for number in range(18):
        await keys.create(context, neighbour, keys.NewKey(name=f"k{number}"))
    for call in (
        keys.create(context, neighbour, keys.NewKey(name="k")),
        keys.duplicate(context, neighbour, "k3"),
        create_team(context, neighbour, NewScope(name="t")),
        add_member(context, neighbour, NewMember(name="p", email="p@example.org")),
    ):
        with pytest.raises(ConflictError, match="share of this installation"):
            await call
    await keys.revoke(context, neighbour, "k3")
    with pytest.raises(ConflictError, match="share of this installation"):
        await keys.create(context, neighbour, keys.NewKey(name="k"))
    await keys.create(context, owner, keys.NewKey(name="k"))
    assert await scalar(context, f"SELECT places_taken FROM orgs WHERE id = {neighbour.org}") == 20


async def test_one_org_alone_may_take_all(context: Context, owner: Actor) -> None:
    context = small(context, capacity=16)
    for number in range(13):
        await keys.create(context, owner, keys.NewKey(name=f"k{number}"))
    with pytest.raises(ConflictError, match="installation has room for"):
        await keys.create(context, owner, keys.NewKey(name="k"))
    with pytest.raises(ConflictError, match="installation has room for"):
        await bootstrap.add_org(context, "Other")


async def test_the_operator_says_how_much_an_org_may_take(context: Context, owner: Actor) -> None:
    context = small(context, org_capacity=4)
    await keys.create(context, owner, keys.NewKey(name="k"))
    with pytest.raises(ConflictError, match="org_capacity"):
        await keys.create(context, owner, keys.NewKey(name="l"))


async def test_a_member_makes_so_many_keys_and_no_more(
    context: Context, owner: Actor, member: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "KEYS_A_PERSON", 2)
    for name in ("a", "b"):
        await keys.create(context, member, keys.NewKey(name=name))
    await keys.revoke(context, member, "a")
    with pytest.raises(ConflictError, match="Ask an admin"):
        await keys.create(context, member, keys.NewKey(name="c"))
    await keys.create(context, owner, keys.NewKey(name="d", user="member@acme.test"))


async def test_what_was_refused_takes_no_place(context: Context, owner: Actor) -> None:
    before = await scalar(context, "SELECT sum(places_taken) FROM orgs")
    with pytest.raises(ConflictError):
        await create_team(context, owner, NewScope(name="Default"))
    assert await scalar(context, "SELECT sum(places_taken) FROM orgs") == before == 3
    assert (await show_scope(context, owner, Kind.TEAM, "Default")).name == "Default"


async def test_long_lists_take_more_places_of_the_own_org_alone(
    context: Context, owner: Actor, neighbour: Actor
) -> None:
    """Any admin filled the room for lists for all; a list that is changed back gives its places."""
    context = small(context, capacity=1_000, org_capacity=500)
    key = (await keys.create(context, neighbour, keys.NewKey(name="k"))).view.id
    query = f"SELECT places_taken FROM orgs WHERE id = {neighbour.org}"
    before = await scalar(context, query)
    models = tuple(f"{number:0120}" for number in range(200))
    more = tuple(f"{number:0120}" for number in range(260))
    await keys.patch(context, neighbour, key, keys.KeyPatch(allowed_models=models))
    assert await scalar(context, query) == int(str(before)) + 400
    with pytest.raises(ConflictError, match="share of this installation"):
        await keys.create(context, neighbour, keys.NewKey(name="l", allowed_models=models))
    with pytest.raises(ConflictError, match="share of this installation"):
        await keys.patch(context, neighbour, key, keys.KeyPatch(allowed_models=more))
    await keys.patch(context, neighbour, key, keys.KeyPatch(name="renamed"))
    await keys.create(context, owner, keys.NewKey(name="mine"))
    for _ in range(3):
        await keys.patch(context, neighbour, key, keys.KeyPatch(allowed_models=models[:-1]))
        await keys.patch(context, neighbour, key, keys.KeyPatch(allowed_models=models))
    await keys.patch(context, neighbour, key, keys.KeyPatch(allowed_models=()))
    assert await scalar(context, query) == before
