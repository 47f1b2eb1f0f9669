"""``nemorouter teams``."""

from typing import Any

from cyclopts import App

from nemorouter.cli.options import NO_LIMITS, RATE_HEADS, Limits, rate_cells
from nemorouter.cli.output import print_fields, print_json, print_table
from nemorouter.cli.run import DEFAULTS, Common, group, with_store

app: App = group("teams")


@app.command
def create(*, name: str, limits: Limits = NO_LIMITS, common: Common = DEFAULTS) -> None:
    """Create a team; its limits and budget bind all its keys together.

    Parameters
    ----------
    name
        The team's name.
    """
    from nemorouter.services.scopes.limits import NewScope
    from nemorouter.services.scopes.teams import create_team

    new = NewScope(name=name, **limits.fields())
    print_scope(with_store(common, lambda context, actor: create_team(context, actor, new)), common)


@app.command(name="list")
def list_teams(*, common: Common = DEFAULTS) -> None:
    """List teams by name."""
    from nemorouter.services.scopes.teams import list_teams

    print_scopes(with_store(common, list_teams), common)


@app.command
def update(
    team: str,
    /,
    *,
    name: str | None = None,
    status: str | None = None,
    limits: Limits = NO_LIMITS,
    common: Common = DEFAULTS,
) -> None:
    """Change TEAM (id or name); applied at the next request.

    Parameters
    ----------
    name
        A new name.
    status
        active or disabled; a disabled team refuses all its keys.
    """
    from nemorouter.services.scopes.scope import patch_scope
    from nemorouter.types import Kind

    patch = patch_of(limits, name=name, status=status)
    print_scope(
        with_store(
            common,
            lambda context, actor: patch_scope(context, actor, Kind.TEAM, team, patch),
        ),
        common,
    )


def patch_of(limits: Limits, **given: str | None) -> Any:  # noqa: ANN401 - a ScopePatch, imported late
    """Make a patch of the options that were given."""
    from nemorouter.services.scopes.limits import ScopePatch

    named: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
    return ScopePatch(**named, **limits.fields())


def print_scope(view: Any, common: Common) -> None:  # noqa: ANN401 - any view
    if common.json:
        print_json(view)
    else:
        print_fields(view)


def print_scopes(views: Any, common: Common, *own: str) -> None:  # noqa: ANN401 - any views
    """Print a table of scopes; ``own`` are the fields that only their kind has."""
    if common.json:
        print_json({"data": views})
        return
    print_table(
        (
            "ID",
            "NAME",
            *(field.upper() for field in own),
            "STATUS",
            *RATE_HEADS,
            "BUDGET",
            "SPEND",
        ),
        (
            (
                view.id,
                getattr(view, "email", view.name),
                *(getattr(view, field) for field in own),
                view.status,
                *rate_cells(view),
                f"{view.budget.max_spend} {view.budget.duration}" if view.budget else None,
                view.spend,
            )
            for view in views
        ),
    )
