"""Rows P15 and P16 of the attacks: roles change by one door, and links end with who made them."""

from collections.abc import Awaitable, Callable

import pytest

from nemorouter import ids
from nemorouter.errors import ConflictError, ForbiddenError, NotFoundError
from nemorouter.roles import Actor, Role
from nemorouter.services.access import invitations, management, people, reset
from nemorouter.services.access.invitations import NewInvitation
from nemorouter.services.access.operators import NewOperator, add_operator
from nemorouter.services.scopes import keys
from nemorouter.services.scopes.scope import show_scope
from nemorouter.services.scopes.users import NewMember, add_member
from nemorouter.services.transaction.context import Context
from nemorouter.types import Kind

PASSWORD = "correct horse battery"
OWNER = "owner@acme.test"  # without a password


@pytest.fixture
async def admin(context: Context, owner: Actor) -> Actor:
    made = await add_member(
        context, owner, NewMember(name="A", email="admin@acme.test", role="admin")
    )
    return Actor(
        org=owner.org, role=Role.ADMIN, name=made.email, user=ids.from_text("user", made.id)
    )


@pytest.mark.parametrize("role", ["member", "viewer", "admin"])
async def test_an_invitation_changes_nobodys_role(
    context: Context, owner: Actor, admin: Actor, role: str
) -> None:
    """An invitation of a lower role demoted the last owner."""
    for actor in (admin, owner):
        with pytest.raises(ConflictError, match="as owner"):
            await invitations.create(context, actor, NewInvitation(email=OWNER, role=role))


async def test_a_link_that_was_made_before_a_promotion_takes_over_nobody(
    context: Context, owner: Actor, admin: Actor
) -> None:
    await add_member(context, owner, NewMember(name="B", email="b@acme.test"))
    made = await invitations.create(context, admin, NewInvitation(email="b@acme.test"))
    await people.patch_member(context, owner, "b@acme.test", people.MemberPatch(role="owner"))
    with pytest.raises(NotFoundError):
        await invitations.accept(context, made.token, "Eve", PASSWORD, "")


async def test_a_link_that_was_made_before_its_person_was_added_takes_over_nobody(
    context: Context, owner: Actor, admin: Actor
) -> None:
    made = await invitations.create(context, admin, NewInvitation(email="b@acme.test"))
    await add_member(context, owner, NewMember(name="B", email="b@acme.test", role="owner"))
    with pytest.raises(NotFoundError):
        await invitations.accept(context, made.token, "Eve", PASSWORD, "")
    shown = await show_scope(context, owner, Kind.USER, "b@acme.test")
    assert (shown.role, shown.name, shown.signs_in) == ("owner", "B", False)


async def test_an_operator_without_a_password_is_invited_by_operators_alone(
    context: Context, owner: Actor, admin: Actor
) -> None:
    await add_member(context, owner, NewMember(name="B", email="b@acme.test"))
    await add_operator(context, owner, NewOperator(email="b@acme.test"))
    with pytest.raises(ForbiddenError, match="operator"):
        await invitations.create(context, admin, NewInvitation(email="b@acme.test"))
    await invitations.create(context, owner, NewInvitation(email="b@acme.test"))


async def test_a_person_who_is_there_joins_with_the_role_they_have(
    context: Context, owner: Actor
) -> None:
    made = await invitations.create(context, owner, NewInvitation(email=OWNER, role="owner"))
    await invitations.accept(context, made.token, "Ada", PASSWORD, "")
    shown = await show_scope(context, owner, Kind.USER, OWNER)
    assert (shown.role, shown.name, shown.signs_in) == ("owner", "Ada", True)


async def _removed(context: Context, owner: Actor) -> None:
    await people.remove_member(context, owner, "admin@acme.test")


async def _demoted(context: Context, owner: Actor) -> None:
    await people.patch_member(context, owner, "admin@acme.test", people.MemberPatch(role="member"))


async def _disabled(context: Context, owner: Actor) -> None:
    patch = people.MemberPatch(status="disabled")
    await people.patch_member(context, owner, "admin@acme.test", patch)


@pytest.mark.parametrize("end", [_removed, _demoted, _disabled])
async def test_links_end_with_who_made_them(
    context: Context,
    owner: Actor,
    admin: Actor,
    member: Actor,
    end: Callable[[Context, Actor], Awaitable[None]],
) -> None:
    """An admin who was removed took over accounts by links made before."""
    invited = await invitations.create(context, admin, NewInvitation(email="spy@acme.test"))
    others = await invitations.create(context, owner, NewInvitation(email="good@acme.test"))
    link = await reset.issue(context, admin, member.name)
    await invitations.peek(context, invited.token)
    await reset.peek(context, link.token)
    await end(context, owner)
    with pytest.raises(NotFoundError):
        await invitations.accept(context, invited.token, "Spy", PASSWORD, "")
    with pytest.raises(NotFoundError):
        await reset.complete(context, link.token, PASSWORD, "")
    await invitations.peek(context, others.token)


async def test_a_new_name_ends_nothing(context: Context, owner: Actor, admin: Actor) -> None:
    invited = await invitations.create(context, admin, NewInvitation(email="good@acme.test"))
    await people.patch_member(context, owner, admin.name, people.MemberPatch(name="Anna"))
    await invitations.peek(context, invited.token)


async def test_keys_that_they_made_are_listed(
    context: Context, owner: Actor, admin: Actor, member: Actor
) -> None:
    made = await keys.create(context, admin, keys.NewKey(name="for all"))
    await keys.create(context, admin, keys.NewKey(name="own", user=admin.name))
    gone = await keys.create(context, admin, keys.NewKey(name="gone"))
    await keys.revoke(context, owner, gone.view.id)
    await keys.create(context, owner, keys.NewKey(name="of the owner"))
    mk = await management.create(context, admin, management.NewManagementKey(name="mk"))
    program = Actor(org=admin.org, role=Role.ADMIN, name=mk.view.id, user=admin.user)
    by_program = await keys.create(context, program, keys.NewKey(name="k", user=member.name))
    listed = await people.keys_made_by(context, owner, admin.name)
    assert [key.id for key in listed] == [by_program.view.id, made.view.id]
    with pytest.raises(ForbiddenError):
        await people.keys_made_by(context, member, admin.name)
