"""``nemorouter members``."""

from typing import TYPE_CHECKING, Any

from cyclopts import App

from nemorouter.cli.options import NO_LIMITS, Limits
from nemorouter.cli.output import note, print_json, print_table
from nemorouter.cli.run import DEFAULTS, Common, group, with_store
from nemorouter.cli.teams import print_scope, print_scopes

if TYPE_CHECKING:
    from nemorouter.roles import Actor
    from nemorouter.services.fields.views import KeyView
    from nemorouter.services.transaction.context import Context

app: App = group("members")


@app.command
def add(
    *,
    email: str,
    name: str | None = None,
    role: str = "member",
    limits: Limits = NO_LIMITS,
    common: Common = DEFAULTS,
) -> None:
    """Add a person to the org; limits and budget bind all their keys together.

    Parameters
    ----------
    email
        The person's e-mail address.
    name
        How the person is shown (default: the first part of the address).
    role
        owner, admin, member or viewer.
    """
    from nemorouter.services.scopes.users import NewMember, add_member

    new = NewMember(email=email, name=name or email.partition("@")[0], role=role, **limits.fields())
    print_scope(with_store(common, lambda context, actor: add_member(context, actor, new)), common)


@app.command(name="list")
def list_members(*, common: Common = DEFAULTS) -> None:
    """List people by e-mail, with their roles."""
    from nemorouter.services.scopes.users import list_members

    print_scopes(with_store(common, list_members), common, "role")


@app.command
def update(
    member: str,
    /,
    *,
    name: str | None = None,
    status: str | None = None,
    role: str | None = None,
    limits: Limits = NO_LIMITS,
    common: Common = DEFAULTS,
) -> None:
    """Change MEMBER (e-mail or id); applied at the next request.

    Parameters
    ----------
    name
        A new name.
    status
        active or disabled; a disabled person's keys are refused.
    role
        owner, admin, member or viewer; another role ends the person's sessions.
    """
    from nemorouter.services.access import people

    given: dict[str, Any] = {
        field: text
        for field, text in (("name", name), ("status", status), ("role", role))
        if text is not None
    }
    patch = people.MemberPatch(**given, **limits.fields())
    print_scope(
        with_store(
            common, lambda context, actor: people.patch_member(context, actor, member, patch)
        ),
        common,
    )


@app.command
def invite(*, email: str, role: str = "member", common: Common = DEFAULTS) -> None:
    """Invite a person to sign in; print the path of the link, this once.

    The link works once, for seven days.

    Parameters
    ----------
    email
        The person's e-mail address.
    role
        owner, admin, member or viewer.
    """
    from nemorouter.services.access import invitations

    new = invitations.NewInvitation(email=email, role=role)
    created = with_store(common, lambda context, actor: invitations.create(context, actor, new))
    path = f"/invitations/accept?token={created.token}"
    if common.json:
        print_json({"invitation": created.view, "path": path})
        return
    note(
        f"{created.view.email} joins {created.view.org_name} at this path of the server, "
        "within seven days:"
    )
    print(path)


@app.command(name="reset-password")
def reset_password(member: str, /, *, common: Common = DEFAULTS) -> None:
    """Print a link by which MEMBER (e-mail or id) sets a new password, this once.

    The link works once, for a day.
    """
    from nemorouter.services.access import reset

    made = with_store(common, lambda context, actor: reset.issue(context, actor, member))
    path = f"/reset?token={made.token}"
    if common.json:
        print_json({"email": made.email, "expires_at": made.expires_at, "path": path})
        return
    note(f"{made.email} sets a new password at this path of the server, within a day:")
    print(path)


@app.command
def remove(member: str, /, *, common: Common = DEFAULTS) -> None:
    """Remove MEMBER (e-mail or id) and revoke their keys; what they spent stays on record."""
    made = with_store(common, lambda context, actor: _remove(context, actor, member))
    if common.json:
        print_json({"member": member, "removed": True, "keys_made": made})
        return
    note(f"{member} is removed.")
    if made:
        note("These keys of others were made by them, and they may know the secrets:")
        print_table(("ID", "NAME", "ALIAS"), ((key.id, key.name, key.alias) for key in made))


async def _remove(context: "Context", actor: "Actor", member: str) -> "list[KeyView]":
    """Remove a person; answer the live keys of others that they made."""
    from nemorouter.services.access import people

    made = await people.keys_made_by(context, actor, member)
    await people.remove_member(context, actor, member)
    return made
