"""Pages of the teams: all of them, and one with its spend, limits and keys."""

from typing import Final

from litestar import Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from nemorouter.control.pages import forms, series
from nemorouter.control.pages.frame import AnyRequest, Frame, open_frame
from nemorouter.control.pages.render import go
from nemorouter.errors import RefusedError
from nemorouter.services.fields.views import ScopeView
from nemorouter.services.reports import overview
from nemorouter.services.scopes import keys, teams
from nemorouter.services.scopes.limits import NewScope, ScopePatch
from nemorouter.services.scopes.scope import patch_scope, show_scope
from nemorouter.types import Kind

PAGE: Final = 50


@get("/{org:str}/teams")
async def show_teams(request: AnyRequest, org: FromPath[str]) -> Response[str]:
    """All teams, and the form of a new one."""
    frame = await open_frame(request, org, "Teams")
    return await _list(
        frame, forms.filled({"duration": "monthly"}), cursor=request.query_params.get("cursor")
    )


@post("/{org:str}/teams", status_code=200)
async def create_team(request: AnyRequest, org: FromPath[str]) -> Response[str] | Redirect:
    """Make a team."""
    frame = await open_frame(request, org, "Teams")
    form = await forms.read(request)
    try:
        new = NewScope(
            name=form.text("name"),
            **forms.rates(form),
            budget=forms.budget(form),
            allowed_models=forms.lines(form, "allowed_models"),
        )
        made = await teams.create_team(frame.context, frame.actor, new)
    except RefusedError as error:
        return await _list(frame, form, error)
    return go(f"{frame.path}/teams/{made.id}", "team-created")


@get("/{org:str}/teams/{id:str}")
async def show_team(request: AnyRequest, org: FromPath[str], id: FromPath[str]) -> Response[str]:
    """One team."""
    frame = await open_frame(request, org, "Teams")
    return await _team(frame, await _find(frame, id))


@post("/{org:str}/teams/{id:str}", status_code=200)
async def save_team(
    request: AnyRequest, org: FromPath[str], id: FromPath[str]
) -> Response[str] | Redirect:
    """Change name, state, limits, budget, models."""
    frame = await open_frame(request, org, "Teams")
    form = await forms.read(request)
    old = await _find(frame, id)
    try:
        await patch_scope(frame.context, frame.actor, Kind.TEAM, old.id, patch(form))
    except RefusedError as error:
        return await _team(frame, old, form, error)
    return go(f"{frame.path}/teams/{old.id}", "team-saved")


def patch(form: forms.Form) -> ScopePatch:
    """Read the whole form of a scope."""
    return ScopePatch(
        name=form.text("name"),
        status=form.text("status"),
        **forms.rates(form),
        budget=forms.budget(form),
        allowed_models=forms.lines(form, "allowed_models"),
    )


async def _find(frame: Frame, id: str) -> ScopeView:
    found: ScopeView = await show_scope(
        frame.context, frame.actor, Kind.TEAM, forms.only_id("team", id)
    )
    return found


async def _list(
    frame: Frame, form: forms.Form, error: RefusedError | None = None, cursor: str | None = None
) -> Response[str]:
    found = await teams.page_teams(frame.context, frame.actor, limit=PAGE, cursor=cursor)
    return frame.page(
        "teams.html",
        status=forms.status(error) if error else 200,
        teams=found.data,
        durations=forms.DURATIONS,
        **frame.turns("/teams", cursor, found.next_cursor),
        **(forms.again(form, error) if error else {"form": form}),
    )


async def _team(
    frame: Frame, team: ScopeView, form: forms.Form | None = None, error: RefusedError | None = None
) -> Response[str]:
    days = await overview.daily(frame.context, frame.actor, Kind.TEAM, team.id)
    said = (
        forms.again(form, error)
        if form is not None and error is not None
        else {"form": as_form(team)}
    )
    return frame.page(
        "team.html",
        status=forms.status(error) if error else 200,
        team=team,
        total=series.total(days),
        spend_chart=series.spend(days, "team-spend"),
        models=series.by_model(days),
        keys=(await keys.list_keys(frame.context, frame.actor, team=team.id, limit=10)).data,
        durations=forms.DURATIONS,
        **said,
    )


def as_form(view: ScopeView) -> forms.Form:
    """Make the form with the scope's present values."""
    values = {
        "name": view.name,
        "status": view.status,
        "allowed_models": "\n".join(view.allowed_models),
    }
    return forms.filled(values | forms.limits(view))


HANDLERS: Final = [show_teams, create_team, show_team, save_team]
