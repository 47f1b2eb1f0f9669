"""``nemorouter orgs``."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from cyclopts import App

from nemorouter.cli.options import NO_LIMITS, Limits
from nemorouter.cli.output import note, print_json
from nemorouter.cli.run import DEFAULTS, Common, group, with_store
from nemorouter.cli.teams import patch_of, print_scope, print_scopes

if TYPE_CHECKING:
    from nemorouter.services.transaction.context import Context

app: App = group("orgs")

T = TypeVar("T")


@app.command
def create(*, name: str, email: str, common: Common = DEFAULTS) -> None:
    """Make another org in this installation, and print a link by which its first owner joins.

    Parameters
    ----------
    name
        Name of the org.
    email
        E-mail address of its owner.
    """
    from nemorouter.services.operations import orgs

    org, created = _with_context(common, lambda context: orgs.create_org(context, name, email))
    path = f"/invitations/accept?token={created.token}"
    if common.json:
        print_json({"org": org, "invitation": created.view, "path": path})
        return
    note(
        f"{org.name} ({org.id}) is made. "
        "The owner joins at this path of the server, within seven days:"
    )
    print(path)


@app.command(name="list")
def list_orgs(*, common: Common = DEFAULTS) -> None:
    """List the orgs of this installation."""
    from nemorouter.services.operations import orgs

    print_scopes(_with_context(common, orgs.list_orgs), common)


@app.command
def update(
    *,
    name: str | None = None,
    status: str | None = None,
    limits: Limits = NO_LIMITS,
    common: Common = DEFAULTS,
) -> None:
    """Change the first org's name, state, limits or budget; applied at the next request.

    Parameters
    ----------
    name
        A new name.
    status
        active or disabled; a disabled org's keys are refused.
    """
    from nemorouter.services.scopes.scope import patch_scope
    from nemorouter.services.transaction.lookup import text_id
    from nemorouter.types import Kind

    patch = patch_of(limits, name=name, status=status)
    print_scope(
        with_store(
            common,
            lambda context, actor: patch_scope(
                context, actor, Kind.ORG, text_id(Kind.ORG, actor.org), patch
            ),
        ),
        common,
    )


def _with_context(common: Common, action: "Callable[[Context], Awaitable[T]]") -> T:
    """Run ``action`` on the store, above all orgs: only who sits at the machine may."""

    async def work() -> T:
        from nemorouter.services.transaction.context import Context

        context = await Context.open(common.settings())
        try:
            return await action(context)
        finally:
            await context.close()

    return asyncio.run(work())
