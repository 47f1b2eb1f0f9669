"""``nemorouter members``."""

from cyclopts import App

from nemorouter.cli.options import NO_LIMITS, Limits
from nemorouter.cli.run import DEFAULTS, Common, group, with_store
from nemorouter.cli.teams import list_owners, patch_of, show_owner

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
    from nemorouter.services import owners

    new = owners.NewMember(email=email, name=name or email.partition("@")[0], role=role, **limits.fields())
    show_owner(with_store(common, lambda context, actor: owners.add_member(context, actor, new)), common)


@app.command(name="list")
def list_members(*, common: Common = DEFAULTS) -> None:
    """List people by e-mail."""
    from nemorouter.services import owners

    list_owners(with_store(common, owners.list_members), common)


@app.command
def update(
    member: str,
    /,
    *,
    name: str | None = None,
    status: str | None = None,
    limits: Limits = NO_LIMITS,
    common: Common = DEFAULTS,
) -> None:
    """Change MEMBER (e-mail or id); obeyed at the next request.

    Parameters
    ----------
    name
        A new name.
    status
        active or disabled; a disabled person's keys are refused.
    """
    from nemorouter.services import owners
    from nemorouter.types import Kind

    patch = patch_of(limits, name=name, status=status)
    show_owner(
        with_store(common, lambda context, actor: owners.patch_owner(context, actor, Kind.USER, member, patch)), common
    )
