"""Show the budgets of an org: every cap with what is spent of it, and the alerts raised."""

from typing import Final

from litestar import Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from nemorouter.control.pages import forms, words
from nemorouter.control.pages.frame import AnyRequest, Frame, open_frame
from nemorouter.control.pages.render import go
from nemorouter.errors import NotFoundError, RefusedError
from nemorouter.services.budgets import alerts, budgets
from nemorouter.services.reports import overview
from nemorouter.types import Kind

PAGE: Final = 25
_ALERTS: Final = 20
_WORDS: Final = {"org": "Organization", "team": "Team", "user": "Person", "key": "Key"}


@get("/{org:str}/budgets")
async def show_budgets(request: AnyRequest, org: FromPath[str]) -> Response[str]:
    """Budgets of the org, its teams, people and keys, by pages."""
    frame = await open_frame(request, org, "Budgets")
    return await _page(
        frame, forms.filled({"duration": "monthly"}), cursor=request.query_params.get("cursor")
    )


@post("/{org:str}/budgets", status_code=200)
async def save_budget(request: AnyRequest, org: FromPath[str]) -> Response[str] | Redirect:
    """Give a scope a budget in place of the one it has."""
    frame = await open_frame(request, org, "Budgets")
    form = await forms.read(request)
    try:
        new = forms.budget(form)
        if new is None:
            raise RefusedError("Type an amount in USD, such as 50.", field="max_spend")
        await budgets.set_budget(
            frame.context, frame.actor, kind_of(form.text("scope")), form.text("scope"), new
        )
    except RefusedError as error:
        return await _page(frame, form, error)
    return go(f"{frame.path}/budgets", "budget-saved")


@get("/{org:str}/budgets/{id:str}/remove")
async def ask_remove(request: AnyRequest, org: FromPath[str], id: FromPath[str]) -> Response[str]:
    """Names the budget, and what its end means."""
    frame = await open_frame(request, org, "Budgets")
    one = await budgets.show_budget(frame.context, frame.actor, kind_of(id), id)
    return frame.page(
        "confirm.html",
        question="Remove this budget?",
        name=one.name,
        detail=f"{words.exact(one.budget.max_spend)} {one.budget.duration}",
        consequences=[
            f"The {_WORDS[one.kind].lower()} may spend without a cap of its own from the next "
            "request on.",
            "Budgets of its other levels still hold.",
        ],
        verb="Remove budget",
        action=f"{frame.path}/budgets/{one.id}/remove",
        back=f"{frame.path}/budgets",
        back_name="Budgets",
        hidden={},
    )


@post("/{org:str}/budgets/{id:str}/remove", status_code=303)
async def remove_budget(request: AnyRequest, org: FromPath[str], id: FromPath[str]) -> Redirect:
    """Take the budget away."""
    frame = await open_frame(request, org, "Budgets")
    await budgets.clear_budget(frame.context, frame.actor, kind_of(id), id)
    return go(f"{frame.path}/budgets", "budget-removed")


def kind_of(id: str) -> Kind:
    """Return the kind of scope that an id names. NotFoundError: no scope that has a budget."""
    prefix = id.partition("_")[0].upper()
    if prefix not in Kind.__members__:
        raise NotFoundError("Choose whose budget it is.", field="scope")
    forms.only_id(prefix.lower(), id)
    return Kind[prefix]


async def _page(
    frame: Frame, form: forms.Form, error: RefusedError | None = None, cursor: str | None = None
) -> Response[str]:
    context = frame.context
    actor = frame.actor
    found = await budgets.page_all(context, actor, limit=PAGE, cursor=cursor)
    return frame.page(
        "budgets.html",
        status=forms.status(error) if error else 200,
        budgets=found.data,
        kinds=_WORDS,
        alerts=(await alerts.list_alerts(context, actor, limit=_ALERTS)).data,
        scopes=await _scopes(frame) if frame.can("budget.set") else [],
        durations=forms.DURATIONS,
        **frame.turns("/budgets", cursor, found.next_cursor),
        **(forms.again(form, error) if error else {"form": form}),
    )


async def _scopes(frame: Frame) -> list[tuple[str, str]]:
    """List the scopes whose budget can be set here: the org, teams and people.

    A key's budget is on the page of the key.
    """
    teams = await overview.choices(frame.context, frame.actor, Kind.TEAM)
    people = await overview.choices(frame.context, frame.actor, Kind.USER)
    return [
        (frame.org_id, f"Organization: {frame.org.name}"),
        *((id, f"Team: {name}") for id, name in teams),
        *((id, f"Person: {email}") for id, email in people),
    ]


HANDLERS: Final = [show_budgets, save_budget, ask_remove, remove_budget]
