"""Show the people of an org: members with roles, invitations, and one user with their limits."""

from functools import partial
from typing import Final

from litestar import Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from nemorouter.control import auth
from nemorouter.control.pages import forms, series, teams
from nemorouter.control.pages.frame import AnyRequest, Frame, open_frame
from nemorouter.control.pages.once import once
from nemorouter.control.pages.render import go
from nemorouter.errors import RefusedError
from nemorouter.roles import Role
from nemorouter.services.access import invitations, people, reset
from nemorouter.services.fields.views import UserView
from nemorouter.services.reports import overview
from nemorouter.services.scopes.scope import show_scope
from nemorouter.services.scopes.users import page_members
from nemorouter.types import Kind

PAGE: Final = 50
_ROLES: Final = {
    "owner": "Owner: everything",
    "admin": "Admin: all but deleting the organization",
    "member": "Member: own keys and usage",
    "viewer": "Viewer: reads",
}


@get("/{org:str}/people/members")
async def show_members(request: AnyRequest, org: FromPath[str]) -> Response[str]:
    """Members and invitations."""
    frame = await open_frame(request, org, "People")
    return await _list(
        frame, forms.filled({"role": "member"}), cursor=request.query_params.get("cursor")
    )


@post("/{org:str}/people/invitations", status_code=200)
async def invite(request: AnyRequest, org: FromPath[str]) -> Response[str] | Redirect:
    """Invite a person; the link is shown this once."""
    frame = await open_frame(request, org, "People")
    form = await forms.read(request)
    try:
        new = invitations.NewInvitation(email=form.text("email"), role=form.text("role"))
        create = partial(invitations.create, frame.context, frame.actor, new)
        made = await once(frame, form, create, lambda _: f"{frame.path}/people/members")
    except RefusedError as error:
        return await _list(frame, form, error)
    if isinstance(made, Redirect):
        return made
    link = f"{auth.base_url(request)}/invitations/accept?token={made.token}"
    return frame.page("invited.html", invitation=made.view, link=link)


@post("/{org:str}/people/invitations/{id:str}/revoke", status_code=303)
async def revoke_invitation(request: AnyRequest, org: FromPath[str], id: FromPath[str]) -> Redirect:
    """Withdraw an invitation."""
    frame = await open_frame(request, org, "People")
    await invitations.revoke(frame.context, frame.actor, id)
    return go(f"{frame.path}/people/members", "invitation-revoked")


@get("/{org:str}/people/members/{id:str}")
async def show_member(request: AnyRequest, org: FromPath[str], id: FromPath[str]) -> Response[str]:
    """One person."""
    frame = await open_frame(request, org, "People")
    return await _member(frame, await _find(frame, id))


@post("/{org:str}/people/members/{id:str}", status_code=200)
async def save_member(
    request: AnyRequest, org: FromPath[str], id: FromPath[str]
) -> Response[str] | Redirect:
    """Change role, state, limits, budget."""
    frame = await open_frame(request, org, "People")
    form = await forms.read(request)
    old = await _find(frame, id)
    try:
        role = form.text("role")
        given = people.MemberPatch(
            name=form.text("name"),
            status=form.text("status"),
            **forms.rates(form),
            budget=forms.budget(form),
            allowed_models=forms.lines(form, "allowed_models"),
            role=role or old.role,
        )
        await people.patch_member(frame.context, frame.actor, old.id, given)
    except RefusedError as error:
        return await _member(frame, old, form, error)
    return go(f"{frame.path}/people/members/{old.id}", "member-saved")


@post("/{org:str}/people/members/{id:str}/reset", status_code=200)
async def reset_password(
    request: AnyRequest, org: FromPath[str], id: FromPath[str]
) -> Response[str]:
    """Make a link by which the user sets a new password, and show it once.

    An earlier link ends, so that a second request does no harm.
    """
    frame = await open_frame(request, org, "People")
    one = await _find(frame, id)
    try:
        made = await reset.issue(frame.context, frame.actor, one.id)
    except RefusedError as error:
        return await _member(frame, one, teams.as_form(one), error)
    return frame.page(
        "secret.html",
        heading="Link for a new password",
        about=(
            f"Send it to {made.email}. It works once, for a day; "
            "until then their old password works."
        ),
        secret=f"{auth.base_url(request)}/reset?token={made.token}",
        back=f"{frame.path}/people/members/{one.id}",
        back_name=one.name,
    )


@get("/{org:str}/people/members/{id:str}/remove")
async def ask_remove(request: AnyRequest, org: FromPath[str], id: FromPath[str]) -> Response[str]:
    """Names the person, and what their leaving means."""
    frame = await open_frame(request, org, "People")
    one = await _find(frame, id)
    made = await people.keys_made_by(frame.context, frame.actor, one.id)
    named = ", ".join(f"{key.name} ({key.alias})" for key in made[:20])
    more = f", and {len(made) - 20} more" if len(made) > 20 else ""
    return frame.page(
        "confirm.html",
        question="Remove this person?",
        name=one.name,
        detail=one.email,
        consequences=[
            "All their sessions and management keys end.",
            "All API keys of theirs are deleted; the next request with one is refused.",
            "Invitations and links for a new password that they made are of no use any more.",
            "Their spend and their logs stay.",
            *([f"They made keys of others, which go on: {named}{more}."] if made else []),
        ],
        verb="Remove person",
        action=f"{frame.path}/people/members/{one.id}/remove",
        back=f"{frame.path}/people/members/{one.id}",
        back_name="Back to the person",
        hidden={},
    )


@post("/{org:str}/people/members/{id:str}/remove", status_code=200)
async def remove_member(
    request: AnyRequest, org: FromPath[str], id: FromPath[str]
) -> Response[str] | Redirect:
    """Remove the person."""
    frame = await open_frame(request, org, "People")
    one = await _find(frame, id)
    try:
        await people.remove_member(frame.context, frame.actor, one.id)
    except RefusedError as error:
        return await _member(frame, one, teams.as_form(one), error)
    return go(f"{frame.path}/people/members", "member-removed")


async def _find(frame: Frame, id: str) -> UserView:
    found: UserView = await show_scope(
        frame.context, frame.actor, Kind.USER, forms.only_id("user", id)
    )
    return found


async def _list(
    frame: Frame, form: forms.Form, error: RefusedError | None = None, cursor: str | None = None
) -> Response[str]:
    found = await page_members(frame.context, frame.actor, limit=PAGE, cursor=cursor)
    invited = []
    if frame.can("invitation.read"):
        invited = await invitations.list_invitations(frame.context, frame.actor)
    return frame.page(
        "members.html",
        status=forms.status(error) if error else 200,
        members=found.data,
        invitations=[one for one in invited if one.status in ("pending", "expired")],
        roles=_roles(frame),
        **frame.turns("/people/members", cursor, found.next_cursor),
        **(forms.again(form, error) if error else {"form": form}),
    )


async def _member(
    frame: Frame, one: UserView, form: forms.Form | None = None, error: RefusedError | None = None
) -> Response[str]:
    start = teams.as_form(one)
    start = start._replace(values={**start.values, "role": one.role})
    shows_usage = frame.can("usage.read") and (
        frame.actor.role is not Role.MEMBER or frame.is_me(one.id)
    )
    days = (
        await overview.daily(frame.context, frame.actor, Kind.USER, one.id) if shows_usage else []
    )
    return frame.page(
        "member.html",
        status=forms.status(error) if error else 200,
        member=one,
        shows_usage=shows_usage,
        total=series.total(days),
        spend_chart=series.spend(days, "member-spend"),
        roles=_roles(frame),
        durations=forms.DURATIONS,
        **(forms.again(form, error) if form is not None and error is not None else {"form": start}),
    )


def _roles(frame: Frame) -> list[tuple[str, str]]:
    """List the roles as options. The services decide which may be given."""
    return [
        (role, text)
        for role, text in _ROLES.items()
        if role != "owner" or frame.actor.role is Role.OWNER
    ]


HANDLERS: Final = [
    show_members,
    invite,
    revoke_invitation,
    show_member,
    save_member,
    reset_password,
    ask_remove,
    remove_member,
]
