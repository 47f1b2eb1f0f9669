"""Keys: told once, hashed under the pepper, found by id or name, ended for ever."""

import json
import string
from collections import Counter

import msgspec
import pytest
from msgspec import UNSET

from nemorouter.datadir.secrets import hash_key
from nemorouter.errors import ConflictError, ForbiddenError, NotFoundError, RefusedError
from nemorouter.roles import Actor, Role
from nemorouter.services.budgets import budgets
from nemorouter.services.fields.rates import rates_of
from nemorouter.services.scopes import keys
from nemorouter.services.scopes.limits import NewScope
from nemorouter.services.scopes.teams import create_team
from nemorouter.services.transaction.context import Context
from nemorouter.store import policies
from nemorouter.types import Kind, Policy, Status, per_rate
from tests.support.installation import fields, scalar
from tests.support.sql import a_policy, sql

BUDGET = budgets.NewBudget(max_spend="0.25", duration="daily")
FULL = keys.NewKey(
    name="ci",
    budget=BUDGET,
    allowed_models=("gpt-*",),
    allowed_endpoints=("embeddings",),
    allowed_ips=("10.0.0.0/8",),
    expires_at="30d",
    **fields(rpm=60, tpm_burst=7),
)


async def newest(context: Context) -> Policy:
    """Return the policy of the last change."""
    async with context.store.read() as connection:
        seq = await policies.change_seq(connection)
        (change,) = await policies.changes_since(connection, seq - 1)
        policy = await a_policy(connection, change.kind, change.id)
    assert policy is not None
    assert policy.version == seq
    return policy


async def test_create_tells_the_key_once(context: Context, owner: Actor) -> None:
    created = await keys.create(context, owner, FULL)
    body = created.key.removeprefix("sk-nemo-")
    assert len(body) == 20
    assert set(body) <= set(string.ascii_letters + string.digits)
    assert created.view.alias == f"sk-...{created.key[-4:]}"
    assert created.key not in repr(created)
    assert body[:16] not in str(
        msgspec.json.encode(await keys.show(context, owner, created.view.id))
    )


async def test_the_arena_is_told_everything(context: Context, owner: Actor) -> None:
    created = await keys.create(context, owner, FULL)
    policy = await newest(context)
    assert policy.digest == hash_key(created.key, context.peppers[0][1])
    assert (policy.limits, policy.bursts) == (per_rate(rpm=60), per_rate(tpm=7))
    assert (policy.cap, policy.duration) == (250_000_000, 1)
    assert (policy.models, policy.endpoints, policy.ips) == (("gpt-*",), 8, ("10.0.0.0/8",))
    assert (policy.org, policy.user, policy.last4) == (owner.org, 0, created.key[-4:])
    assert policy.expires_ms
    assert policy.team


async def test_keys_are_uniform_and_never_repeat(context: Context, owner: Actor) -> None:
    created = [(await keys.create(context, owner, keys.NewKey(name="k"))).key for _ in range(50)]
    counts = Counter("".join(key.removeprefix("sk-nemo-") for key in created))
    assert len(set(created)) == 50
    assert max(counts.values()) < 60  # 1000 letters of 62: 16 each


async def test_a_refused_create_leaves_nothing(context: Context, owner: Actor) -> None:
    before = await scalar(context, "SELECT count(*) FROM audit")
    bad = keys.NewKey(name="x", budget=budgets.NewBudget(max_spend="-1"))
    with pytest.raises(RefusedError, match="max_spend"):
        await keys.create(context, owner, bad)
    for field in ({"team": "none"}, {"user": "none"}, {"rpm": -1}, {"name": ""}):
        with pytest.raises(RefusedError):
            await keys.create(context, owner, msgspec.structs.replace(FULL, **field))
    assert await scalar(context, "SELECT count(*) FROM keys") == 0
    assert await scalar(context, "SELECT count(*) FROM audit") == before


async def test_unknown_fields_are_refused() -> None:
    for body in (
        '{"name": "x", "status": "active"}',
        '{"name": "x", "org_id": 1}',
        '{"name": "x", "digest": ""}',
    ):
        with pytest.raises(msgspec.ValidationError, match="unknown field"):
            msgspec.json.decode(body, type=keys.NewKey)


async def test_patch_changes_what_is_given_and_nothing_else(context: Context, owner: Actor) -> None:
    old = (await keys.create(context, owner, FULL)).view
    new = await keys.patch(context, owner, "ci", keys.KeyPatch(budget=None, **fields(rpm=None)))
    assert new == msgspec.structs.replace(old, rpm=None, budget=None)
    assert (await newest(context)).cap is None
    again = await keys.patch(
        context, owner, "ci", keys.KeyPatch(name="cd", budget=BUDGET, expires_at=None)
    )
    assert again == msgspec.structs.replace(old, name="cd", rpm=None, expires_at=None)
    assert set(rates_of(keys.KeyPatch()).values()) == {UNSET}


async def test_disable_and_enable(context: Context, owner: Actor) -> None:
    await keys.create(context, owner, FULL)
    assert (
        await keys.patch(context, owner, "ci", keys.KeyPatch(status="disabled"))
    ).status == "disabled"
    assert (await newest(context)).status == Status.DISABLED
    assert (
        await keys.patch(context, owner, "ci", keys.KeyPatch(status="active"))
    ).status == "active"
    with pytest.raises(RefusedError, match="revoke it"):
        await keys.patch(context, owner, "ci", keys.KeyPatch(status="revoked"))


async def test_revoked_for_ever(context: Context, owner: Actor) -> None:
    id = (await keys.create(context, owner, FULL)).view.id
    ended = await keys.revoke(context, owner, id)
    assert (ended.status, ended.revoked_at is None) == ("revoked", False)
    assert (await newest(context)).status == Status.REVOKED
    before = await scalar(context, "SELECT count(*) FROM audit")
    assert await keys.revoke(context, owner, id) == ended
    assert await scalar(context, "SELECT count(*) FROM audit") == before
    with pytest.raises(ConflictError, match="cannot be changed"):
        await keys.patch(context, owner, id, keys.KeyPatch(status="active"))
    assert (await keys.list_keys(context, owner)).data == [ended]


async def test_duplicate_has_the_policy_and_another_secret(context: Context, owner: Actor) -> None:
    first = await keys.create(context, owner, FULL)
    second = await keys.duplicate(context, owner, "ci")
    same = {
        "id": first.view.id,
        "name": "ci",
        "alias": first.view.alias,
        "created_at": first.view.created_at,
    }
    assert msgspec.structs.replace(second.view, **same) == first.view
    assert second.view.name == "ci (copy)"
    assert second.key != first.key
    assert (await keys.duplicate(context, owner, "ci", name="next")).view.name == "next"


async def test_a_name_means_the_live_key_and_two_are_a_conflict(
    context: Context, owner: Actor
) -> None:
    first = (await keys.create(context, owner, keys.NewKey(name="n"))).view
    await keys.revoke(context, owner, first.id)
    second = (await keys.create(context, owner, keys.NewKey(name="n"))).view
    assert (await keys.show(context, owner, "n")).id == second.id
    await keys.create(context, owner, keys.NewKey(name="n"))
    with pytest.raises(ConflictError, match=second.id):
        await keys.revoke(context, owner, "n")


async def test_list_pages_and_filters(context: Context, owner: Actor) -> None:
    await create_team(context, owner, NewScope(name="T"))
    made = [
        (
            await keys.create(
                context, owner, keys.NewKey(name=f"k{n}", team="T" if n % 2 else None)
            )
        ).view
        for n in range(5)
    ]
    await keys.revoke(context, owner, "k0")
    first = await keys.list_keys(context, owner, limit=3)
    assert [key.name for key in first.data] == ["k4", "k3", "k2"]
    rest = await keys.list_keys(context, owner, limit=3, cursor=first.next_cursor)
    assert [key.name for key in rest.data] == ["k1", "k0"]
    assert rest.next_cursor is None
    assert [key.name for key in (await keys.list_keys(context, owner, team="T")).data] == [
        "k3",
        "k1",
    ]
    assert [key.name for key in (await keys.list_keys(context, owner, status="revoked")).data] == [
        "k0"
    ]
    assert [
        key.name for key in (await keys.list_keys(context, owner, q=made[2].alias[-4:])).data
    ] == ["k2"]
    assert [key.name for key in (await keys.list_keys(context, owner, q="K2")).data] == ["k2"]
    assert (await keys.list_keys(context, owner, q="%")).data == []
    for bad in ({"limit": 0}, {"limit": 1001}, {"cursor": "x"}, {"status": "x"}):
        with pytest.raises(RefusedError):
            await keys.list_keys(context, owner, **bad)


async def test_spend_is_the_sum_of_the_ledger(context: Context, owner: Actor) -> None:
    await keys.create(context, owner, FULL)
    key = (await newest(context)).id
    async with context.store.begin() as connection:
        columns = "(day, org_id, team_id, user_id, key_id, model, cost_nano)"
        for day, cost in ((1, 2), (2**31 - 1, 5)):
            values = (day, owner.org, 1, 0, key, "m", cost)
            await sql(
                connection,
                f"INSERT INTO spend_daily {columns} VALUES (?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            month = (day, owner.org, key, 1, cost)
            await sql(connection, "INSERT INTO spend_month VALUES (?, ?, ?, ?, ?)", month)
    view = await keys.show(context, owner, "ci")
    assert view.spend == "0.000000007"
    assert view.budget is not None
    assert view.budget.spent == "0.000000005"


async def test_a_member_has_only_their_own(context: Context, owner: Actor, member: Actor) -> None:
    other = (await keys.create(context, owner, keys.NewKey(name="owner's"))).view
    own = (await keys.create(context, member, keys.NewKey(name="mine"))).view
    assert own.user_id is not None
    assert (await newest(context)).user == member.user
    assert [key.name for key in (await keys.list_keys(context, member)).data] == ["mine"]
    for action in (keys.show, keys.revoke, keys.duplicate):
        with pytest.raises(NotFoundError):
            await action(context, member, other.id)
    with pytest.raises(NotFoundError):
        await keys.patch(context, member, other.id, keys.KeyPatch(**fields(rpm=1)))
    with pytest.raises(RefusedError, match="themselves only"):
        await keys.create(context, member, keys.NewKey(name="x", user="owner@acme.test"))
    assert (await keys.revoke(context, member, own.id)).status == "revoked"


async def test_another_tenant_finds_nothing(
    context: Context, owner: Actor, stranger: Actor
) -> None:
    view = (await keys.create(context, owner, FULL)).view
    assert (await keys.list_keys(context, stranger)).data == []
    for action in (keys.show, keys.revoke, keys.duplicate):
        with pytest.raises(NotFoundError):
            await action(context, stranger, view.id)
    with pytest.raises(NotFoundError):
        await keys.create(context, stranger, keys.NewKey(name="x", team=view.team_id))
    assert (await keys.show(context, owner, view.id)).status == "active"


async def test_a_viewer_changes_nothing(context: Context, owner: Actor) -> None:
    view = (await keys.create(context, owner, FULL)).view
    viewer = Actor(org=owner.org, role=Role.VIEWER, name="v")
    assert (await keys.show(context, viewer, view.id)).id == view.id
    with pytest.raises(ForbiddenError, match=r"viewer does not allow key\.revoke"):
        await keys.revoke(context, viewer, view.id)
    with pytest.raises(ForbiddenError):
        await keys.create(context, viewer, FULL)


async def test_no_secret_is_in_any_file(context: Context, owner: Actor) -> None:
    created = await keys.create(context, owner, FULL)
    await keys.duplicate(context, owner, "ci")
    secret = created.key.removeprefix("sk-nemo-")
    for path in context.settings.data_dir.rglob("*"):
        if path.is_file() and path.name not in ("pepper", "pepper.audit"):
            content = path.read_bytes()
            for part in (secret[:10], secret[10:], context.peppers[0][1].hex()[:16]):
                assert part.encode() not in content, path
            assert context.peppers[0][1][:8] not in content, path


async def test_key_json_is_the_contracts(context: Context, owner: Actor) -> None:
    view = json.loads(msgspec.json.encode((await keys.create(context, owner, FULL)).view))
    wanted = (
        "id name alias team_id user_id status rpm tpm budget spend allowed_models "
        "allowed_endpoints allowed_ips "
        "expires_at created_at last_used_at revoked_at"
    )
    assert set(wanted.split()) <= set(view)
    assert set(view["budget"]) == {"max_spend", "duration", "spent", "resets_at"}
    assert view["team_id"].startswith("team_")
    assert Kind.KEY.name.lower() + "_" in view["id"]
