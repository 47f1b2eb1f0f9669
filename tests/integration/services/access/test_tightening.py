"""Row P8 of the attacks: a member tightens what binds their own key, and never loosens it."""

from typing import Any

import pytest

from nemorouter.errors import ForbiddenError, RefusedError
from nemorouter.roles import Actor
from nemorouter.services.budgets.budgets import NewBudget
from nemorouter.services.fields.views import KeyView
from nemorouter.services.scopes import keys
from nemorouter.services.scopes.keys import KeyPatch, NewKey
from nemorouter.services.scopes.limits import NewScope
from nemorouter.services.scopes.teams import create_team
from nemorouter.services.transaction.context import Context
from tests.support.installation import fields

BOUND: dict[str, Any] = {
    "rpm": 60,
    "tpm": 1000,
    "tpm_burst": 500,
    "budget": NewBudget(max_spend="5", duration="monthly"),
    "allowed_models": ("gpt-*", "o3"),
    "allowed_endpoints": ("embeddings", "responses"),
    "allowed_ips": ("10.0.0.0/8", "2001:db8::/32"),
    "expires_at": "2031-01-01",
}
LOOSER: list[dict[str, Any]] = [
    {"status": "disabled"},
    {"rpm": None},
    {"rpm": 61},
    {"rpm_burst": 61},
    {"tpm": None},
    {"tpm": 1001},
    {"tpm_burst": 501},
    {"tpm_burst": None},
    {"budget": None},
    {"budget": NewBudget(max_spend="5.01", duration="monthly")},
    {"budget": NewBudget(max_spend="5", duration="daily")},
    {"budget": NewBudget(max_spend="1", duration="total")},
    {"allowed_models": ("*",)},
    {"allowed_models": ("g*",)},
    {"allowed_models": ("gpt-4", "o4")},
    {"allowed_endpoints": ("embeddings", "completions")},
    {"allowed_ips": ("10.0.0.0/7",)},
    {"allowed_ips": ("10.0.0.0/8", "11.0.0.1")},
    {"allowed_ips": ("::/0",)},
    {"expires_at": None},
    {"expires_at": "2031-01-02"},
]
TIGHTER: list[dict[str, Any]] = [
    {"name": "another"},
    {"status": "active"},
    {"rpm": 60, "rpm_burst": 1},
    {"rpm": 0},
    {"tpm": 500},
    {"tpm_burst": 499},
    {"budget": NewBudget(max_spend="4.99", duration="monthly")},
    {"allowed_models": ("gpt-4*", "gpt-*")},
    {"allowed_models": ("o3",)},
    {"allowed_endpoints": ("embeddings",)},
    {"allowed_ips": ("10.1.0.0/16", "2001:db8::1")},
    {"expires_at": "2030-12-31"},
]


@pytest.fixture
async def bound(context: Context, owner: Actor, member: Actor) -> str:
    """Make a member's key that an admin bound in every way."""
    new = NewKey(name="bound", user=member.name, **fields(**BOUND))
    return (await keys.create(context, owner, new)).view.id


@pytest.mark.parametrize("change", LOOSER, ids=str)
async def test_a_member_loosens_nothing(
    context: Context, owner: Actor, member: Actor, bound: str, change: dict[str, Any]
) -> None:
    before: KeyView = await keys.show(context, owner, bound)
    with pytest.raises(ForbiddenError):
        await keys.patch(context, member, bound, KeyPatch(**fields(**change)))
    assert await keys.show(context, owner, bound) == before
    await keys.patch(context, owner, bound, KeyPatch(**fields(**change)))


@pytest.mark.parametrize("change", TIGHTER, ids=str)
async def test_a_member_tightens_as_they_like(
    context: Context, member: Actor, bound: str, change: dict[str, Any]
) -> None:
    await keys.patch(context, member, bound, KeyPatch(**fields(**change)))
    with pytest.raises(ForbiddenError):
        await keys.patch(context, member, bound, KeyPatch(**fields(rpm=None)))


async def test_what_was_free_may_be_bound_and_stays_so(context: Context, member: Actor) -> None:
    key = (await keys.create(context, member, NewKey(name="free"))).view.id
    for name, value in BOUND.items():
        await keys.patch(context, member, key, KeyPatch(**fields(**{name: value})))
    with pytest.raises(ForbiddenError):
        await keys.patch(context, member, key, KeyPatch(**fields(tpm=1001)))


async def test_a_disabled_key_is_the_admins_to_wake(
    context: Context, owner: Actor, member: Actor, bound: str
) -> None:
    await keys.patch(context, owner, bound, KeyPatch(status="disabled"))
    with pytest.raises(ForbiddenError, match="status"):
        await keys.patch(context, member, bound, KeyPatch(status="active"))
    assert (await keys.revoke(context, member, bound)).status == "revoked"


async def test_the_team_is_not_the_members(context: Context, owner: Actor, member: Actor) -> None:
    """The other door of the same permission: a key made in a team with a larger budget."""
    await create_team(context, owner, NewScope(name="Rich"))
    with pytest.raises(RefusedError, match="Default"):
        await keys.create(context, member, NewKey(name="k", team="Rich"))
    made = await keys.create(context, owner, NewKey(name="k", team="Rich", user=member.name))
    copied = await keys.duplicate(context, member, made.view.id)
    assert copied.view.team_id == made.view.team_id
