"""``/teams``, ``/members``, ``/invitations``, ``/management-keys``, ``/me`` and ``/org``."""

from typing import Final

import msgspec

from nemorouter.control.api.call import Call, Paging, Route
from nemorouter.services.access import invitations, management, operators, people, reset
from nemorouter.services.fields.page import Page, sliced
from nemorouter.services.fields.views import KeyView, ScopeView, UserView
from nemorouter.services.operations import orgs
from nemorouter.services.scopes import teams, users
from nemorouter.services.scopes.limits import NewScope, ScopePatch
from nemorouter.services.scopes.scope import patch_scope, show_scope
from nemorouter.types import Kind


class Team(ScopeView, frozen=True, kw_only=True):
    """A team; its limits and budget bind all its keys together."""


class Org(ScopeView, frozen=True, kw_only=True):
    """The org; its limits and budget bind all its keys together."""


class CreatedInvitation(invitations.InvitationView, frozen=True, kw_only=True):
    """An invitation with the ``path`` of the link to send.

    The path is answered once; it is ``null`` when an ``Idempotency-Key`` is replayed.
    """

    path: str | None


class CreatedManagementKey(management.ManagementKeyView, frozen=True, kw_only=True):
    """``key`` is the full key, told this once; ``null`` when an ``Idempotency-Key`` is replayed."""

    key: str | None


class PasswordReset(msgspec.Struct, frozen=True, kw_only=True):
    """The ``path`` of the link by which a person sets a new password.

    The path is answered once; it is ``null`` when an ``Idempotency-Key`` is replayed.
    """

    email: str
    expires_at: str | None
    path: str | None


class Operators(msgspec.Struct, frozen=True, kw_only=True):
    """The operators of the installation, by e-mail address."""

    data: list[operators.OperatorView]


class KeysMade(msgspec.Struct, frozen=True, kw_only=True):
    """Live keys of others that a person made, and whose secrets they may know."""

    data: list[KeyView]


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """The person who makes the call."""

    id: str
    email: str
    name: str
    role: str
    org_id: str
    org_name: str
    operator: bool


class MePatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes to the name of the person who makes the call."""

    name: str


async def list_teams(call: Call) -> Page[ScopeView]:
    return await teams.page_teams(
        call.context, call.actor, limit=call.query.limit, cursor=call.query.cursor
    )


async def create_team(call: Call) -> ScopeView:
    return await teams.create_team(call.context, call.actor, call.body)


async def show_team(call: Call) -> ScopeView:
    found: ScopeView = await show_scope(call.context, call.actor, Kind.TEAM, call.id)
    return found


async def patch_team(call: Call) -> ScopeView:
    return await patch_scope(call.context, call.actor, Kind.TEAM, call.id, call.body)


async def list_members(call: Call) -> Page[UserView]:
    return await users.page_members(
        call.context, call.actor, limit=call.query.limit, cursor=call.query.cursor
    )


async def add_member(call: Call) -> UserView:
    return await users.add_member(call.context, call.actor, call.body)


async def show_member(call: Call) -> UserView:
    found: UserView = await show_scope(call.context, call.actor, Kind.USER, call.id)
    return found


async def patch_member(call: Call) -> UserView:
    return await people.patch_member(call.context, call.actor, call.id, call.body)


async def remove_member(call: Call) -> None:
    await people.remove_member(call.context, call.actor, call.id)


async def list_keys_made(call: Call) -> KeysMade:
    return KeysMade(data=await people.keys_made_by(call.context, call.actor, call.id))


async def reset_member(call: Call) -> PasswordReset:
    made = await reset.issue(call.context, call.actor, call.id)
    return PasswordReset(
        email=made.email, expires_at=made.expires_at, path=f"/reset?token={made.token}"
    )


async def list_invitations(call: Call) -> Page[invitations.InvitationView]:
    return sliced(
        await invitations.list_invitations(call.context, call.actor),
        call.query.limit,
        call.query.cursor,
    )


async def invite(call: Call) -> CreatedInvitation:
    created = await invitations.create(call.context, call.actor, call.body)
    return CreatedInvitation(
        **msgspec.structs.asdict(created.view), path=f"/invitations/accept?token={created.token}"
    )


async def end_invitation(call: Call) -> None:
    await invitations.revoke(call.context, call.actor, call.id)


async def list_operators(call: Call) -> Operators:
    return Operators(data=await operators.list_operators(call.context, call.actor))


async def add_operator(call: Call) -> operators.OperatorView:
    return await operators.add_operator(call.context, call.actor, call.body)


async def remove_operator(call: Call) -> None:
    await operators.remove_operator(call.context, call.actor, call.id)


async def list_management_keys(call: Call) -> Page[management.ManagementKeyView]:
    found = await management.list_management_keys(call.context, call.actor)
    return sliced(found, call.query.limit, call.query.cursor)


async def create_management_key(call: Call) -> CreatedManagementKey:
    created = await management.create(call.context, call.actor, call.body)
    return CreatedManagementKey(**msgspec.structs.asdict(created.view), key=created.key)


async def revoke_management_key(call: Call) -> management.ManagementKeyView:
    return await management.revoke(call.context, call.actor, call.id)


async def me(call: Call) -> Me:
    signed = call.signed
    return Me(
        id=signed.user_id,
        email=signed.email,
        name=signed.name,
        role=signed.actor.role.name.lower(),
        org_id=signed.org_id,
        org_name=signed.org_name,
        operator=signed.actor.operator,
    )


async def patch_me(call: Call) -> UserView:
    return await people.rename_me(call.context, call.signed, call.body.name)


async def show_org(call: Call) -> ScopeView:
    found: ScopeView = await show_scope(call.context, call.actor, Kind.ORG, call.signed.org_id)
    return found


async def patch_org(call: Call) -> ScopeView:
    return await patch_scope(call.context, call.actor, Kind.ORG, call.signed.org_id, call.body)


async def delete_org(call: Call) -> None:
    await orgs.delete_org(call.context, call.actor)


ROUTES: Final = (
    Route(
        method="GET",
        path="/teams",
        about="List teams",
        work=list_teams,
        query=Paging,
        answer=Page[Team],
    ),
    Route(
        method="POST",
        path="/teams",
        about="Create a team",
        work=create_team,
        body=NewScope,
        answer=Team,
        status=201,
    ),
    Route(method="GET", path="/teams/{id}", about="Show a team", work=show_team, answer=Team),
    Route(
        method="PATCH",
        path="/teams/{id}",
        about="Change a team",
        work=patch_team,
        body=ScopePatch,
        answer=Team,
    ),
    Route(
        method="GET",
        path="/members",
        about="List people",
        work=list_members,
        query=Paging,
        answer=Page[UserView],
    ),
    Route(
        method="POST",
        path="/members",
        about="Add a person who does not sign in yet; keys can be theirs at once",
        work=add_member,
        body=users.NewMember,
        answer=UserView,
        status=201,
    ),
    Route(
        method="GET", path="/members/{id}", about="Show a person", work=show_member, answer=UserView
    ),
    Route(
        method="PATCH",
        path="/members/{id}",
        about="Change a person's role, state or limits",
        work=patch_member,
        body=people.MemberPatch,
        answer=UserView,
    ),
    Route(
        method="DELETE",
        path="/members/{id}",
        about="Remove a person and revoke their keys",
        work=remove_member,
        answer=None,
        status=204,
    ),
    Route(
        method="GET",
        path="/members/{id}/keys-made",
        about="List the keys of others that a person made",
        work=list_keys_made,
        answer=KeysMade,
    ),
    Route(
        method="POST",
        path="/members/{id}/reset",
        about="Let a person set a new password; the answer tells the link once",
        work=reset_member,
        answer=PasswordReset,
        status=201,
    ),
    Route(
        method="GET",
        path="/invitations",
        about="List invitations",
        work=list_invitations,
        query=Paging,
        answer=Page[invitations.InvitationView],
    ),
    Route(
        method="POST",
        path="/invitations",
        about="Invite a person; the answer tells the link once",
        work=invite,
        body=invitations.NewInvitation,
        answer=CreatedInvitation,
        status=201,
    ),
    Route(
        method="DELETE",
        path="/invitations/{id}",
        about="End an invitation",
        work=end_invitation,
        answer=None,
        status=204,
    ),
    Route(
        method="GET",
        path="/management-keys",
        about="List management keys",
        work=list_management_keys,
        query=Paging,
        answer=Page[management.ManagementKeyView],
    ),
    Route(
        method="POST",
        path="/management-keys",
        about="Create a management key; the answer tells it once",
        work=create_management_key,
        body=management.NewManagementKey,
        answer=CreatedManagementKey,
        status=201,
    ),
    Route(
        method="DELETE",
        path="/management-keys/{id}",
        about="Revoke a management key for ever",
        work=revoke_management_key,
        answer=management.ManagementKeyView,
    ),
    Route(
        method="GET",
        path="/operators",
        about="List the operators of the installation",
        work=list_operators,
        answer=Operators,
    ),
    Route(
        method="PUT",
        path="/operators",
        about="Make a person an operator",
        work=add_operator,
        body=operators.NewOperator,
        answer=operators.OperatorView,
    ),
    Route(
        method="DELETE",
        path="/operators/{id}",
        about="Make a person no operator",
        work=remove_operator,
        answer=None,
        status=204,
    ),
    Route(method="GET", path="/me", about="Who asks", work=me, answer=Me),
    Route(
        method="PATCH",
        path="/me",
        about="Change how one is shown",
        work=patch_me,
        body=MePatch,
        answer=UserView,
    ),
    Route(method="GET", path="/org", about="Show the org", work=show_org, answer=Org),
    Route(
        method="PATCH",
        path="/org",
        about="Change the org",
        work=patch_org,
        body=ScopePatch,
        answer=Org,
    ),
    Route(
        method="DELETE", path="/org", about="End the org", work=delete_org, answer=None, status=204
    ),
)
