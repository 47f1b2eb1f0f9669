"""Pages of the keys: list, creation with the one look at the secret, a key's own page, its end."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from litestar import Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect
from msgspec import UNSET

from nemorouter import ids
from nemorouter.control import auth
from nemorouter.control.pages import forms, series
from nemorouter.control.pages.frame import AnyRequest, Frame, open_frame
from nemorouter.control.pages.once import once
from nemorouter.control.pages.render import go
from nemorouter.control.pages.snippets import snippets
from nemorouter.errors import RefusedError
from nemorouter.services.fields.values import ENDPOINTS
from nemorouter.services.fields.views import KeyView
from nemorouter.services.reports import overview
from nemorouter.services.scopes import keys
from nemorouter.types import Kind

PAGE: Final = 50


@get("/{org:str}/keys")
async def show_keys(request: AnyRequest, org: FromPath[str]) -> Response[str]:
    """Show the table of keys, with search, filters and pages."""
    frame = await open_frame(request, org, "Keys")
    asked = {name: request.query_params.get(name, "").strip() for name in ("q", "team", "status")}
    given: dict[str, Any] = {name: value or None for name, value in asked.items()}
    given["q"] = (given["q"] or "").removeprefix("sk-...")[:200] or None
    cursor = request.query_params.get("cursor")
    found = await keys.list_keys(frame.context, frame.actor, limit=PAGE, cursor=cursor, **given)
    teams = await team_options(frame)
    here = f"{frame.path}/keys"
    query = {name: value for name, value in asked.items() if value}
    more = (
        f"{here}?{urlencode(query | {'cursor': found.next_cursor})}" if found.next_cursor else None
    )
    first = f"{here}?{urlencode(query)}" if cursor else None
    team_ids = [ids.from_text("team", id) for id in {key.team_id for key in found.data}]
    return frame.page(
        "keys.html",
        keys=found.data,
        team_names=await overview.names(frame.context, frame.actor, Kind.TEAM, team_ids),
        form=forms.filled(asked),
        empty=forms.filled({"duration": "monthly", "team": default_team(teams)}),
        filtered=bool(query),
        next=more,
        first=first,
        **choices(teams),
    )


@get("/{org:str}/keys/new")
async def new_key(request: AnyRequest, org: FromPath[str]) -> Response[str]:
    """Show the form of **Create Key** as a page."""
    frame = await open_frame(request, org, "Keys")
    teams = await team_options(frame)
    start = forms.filled(
        {"duration": "monthly", "team": request.query_params.get("team") or default_team(teams)}
    )
    return frame.page("key_new.html", form=start, **choices(teams))


@post("/{org:str}/keys/new", status_code=200)
async def create_key(request: AnyRequest, org: FromPath[str]) -> Response[str] | Redirect:
    """Make the key, and show it this once."""
    frame = await open_frame(request, org, "Keys")
    form = await forms.read(request)
    try:
        new = keys.NewKey(
            name=form.text("name"),
            team=forms.optional(form, "team"),
            **forms.rates(form),
            budget=forms.budget(form),
            allowed_models=forms.lines(form, "allowed_models"),
            allowed_endpoints=forms.ticked(form, "allowed_endpoints"),
            allowed_ips=forms.words(form, "allowed_ips"),
            expires_at=forms.optional(form, "expires_at"),
        )
        made = await once(
            frame, form, lambda: keys.create(frame.context, frame.actor, new), key_path(frame)
        )
    except RefusedError as error:
        teams = await team_options(frame)
        return frame.page(
            "key_new.html", status=forms.status(error), **choices(teams), **forms.again(form, error)
        )
    return made if isinstance(made, Redirect) else reveal(request, frame, made)


@post("/{org:str}/keys/{id:str}/duplicate", status_code=200)
async def duplicate_key(
    request: AnyRequest, org: FromPath[str], id: FromPath[str]
) -> Response[str] | Redirect:
    """Make another key with the limits of this one, and show its secret once."""
    frame = await open_frame(request, org, "Keys")
    form = await forms.read(request)
    made = await once(
        frame, form, lambda: keys.duplicate(frame.context, frame.actor, as_id(id)), key_path(frame)
    )
    return made if isinstance(made, Redirect) else reveal(request, frame, made)


def key_path(frame: Frame) -> Callable[[keys.IssuedKey], str]:
    """Return the function that gives the path of a new key's page."""
    return lambda made: f"{frame.path}/keys/{made.view.id}"


def reveal(request: AnyRequest, frame: Frame, made: keys.IssuedKey) -> Response[str]:
    """Show the one page that holds a full key."""
    base = f"{auth.base_url(request)}/v1"
    return frame.page(
        "key_created.html", key=made.view, secret=made.key, snippets=snippets(base, made.key)
    )


@get("/{org:str}/keys/{id:str}")
async def show_key(request: AnyRequest, org: FromPath[str], id: FromPath[str]) -> Response[str]:
    """One key: usage, limits, refusals."""
    frame = await open_frame(request, org, "Keys")
    return await _key_page(frame, await keys.show(frame.context, frame.actor, as_id(id)))


@post("/{org:str}/keys/{id:str}", status_code=200)
async def save_key(
    request: AnyRequest, org: FromPath[str], id: FromPath[str]
) -> Response[str] | Redirect:
    """Change name, state, limits, budget, access."""
    frame = await open_frame(request, org, "Keys")
    form = await forms.read(request)
    old = await keys.show(frame.context, frame.actor, as_id(id))
    try:
        expires = forms.optional(form, "expires_at")
        given = keys.KeyPatch(
            name=form.text("name"),
            status=form.text("status"),
            **forms.rates(form),
            budget=forms.budget(form),
            allowed_models=forms.lines(form, "allowed_models"),
            allowed_endpoints=forms.ticked(form, "allowed_endpoints"),
            allowed_ips=forms.words(form, "allowed_ips"),
            expires_at=UNSET if expires == old.expires_at else expires,
        )
        await keys.patch(frame.context, frame.actor, old.id, given)
    except RefusedError as error:
        return await _key_page(frame, old, form, error)
    return go(f"{frame.path}/keys/{old.id}", "key-saved")


@get("/{org:str}/keys/{id:str}/delete")
async def ask_delete(request: AnyRequest, org: FromPath[str], id: FromPath[str]) -> Response[str]:
    """Names the key, and what its end means."""
    frame = await open_frame(request, org, "Keys")
    key = await keys.show(frame.context, frame.actor, as_id(id))
    return frame.page(
        "confirm.html",
        question="Delete this key?",
        name=key.name,
        detail=key.alias,
        consequences=[
            "The next request with it is refused with 401, on every worker.",
            "Requests that are running now finish, and are paid for.",
            "It cannot come back. Its spend and its logs stay.",
        ],
        verb="Delete key",
        action=f"{frame.path}/keys/{key.id}/delete",
        back=f"{frame.path}/keys/{key.id}",
        back_name="Back to the key",
        hidden={},
    )


@post("/{org:str}/keys/{id:str}/delete", status_code=303)
async def delete_key(request: AnyRequest, org: FromPath[str], id: FromPath[str]) -> Redirect:
    """End the key. When the answer comes, no worker takes it any more."""
    frame = await open_frame(request, org, "Keys")
    key = await keys.revoke(frame.context, frame.actor, as_id(id))
    return go(f"{frame.path}/keys/{key.id}", "key-deleted")


async def _key_page(
    frame: Frame, key: KeyView, form: forms.Form | None = None, error: RefusedError | None = None
) -> Response[str]:
    days = await overview.daily(frame.context, frame.actor, Kind.KEY, key.id)
    refused = await overview.refused(frame.context, frame.actor, key.id, overview.DAYS)
    team_names = await overview.names(
        frame.context, frame.actor, Kind.TEAM, [ids.from_text("team", key.team_id)]
    )
    user = [ids.from_text("user", key.user_id)] if key.user_id else []
    user_names = await overview.names(frame.context, frame.actor, Kind.USER, user)
    said = (
        forms.again(form, error)
        if form is not None and error is not None
        else {"form": _as_form(key)}
    )
    return frame.page(
        "key.html",
        status=forms.status(error) if error else 200,
        key=key,
        state=_state(key),
        editable=frame.can("key.update") and key.status != "revoked",
        team_name=team_names.get(key.team_id, ""),
        user_name=user_names.get(key.user_id or "", ""),
        total=series.total(days),
        models=series.by_model(days),
        spend_chart=series.spend(days, "key-spend"),
        request_chart=series.requests(days, "key-requests"),
        token_chart=series.tokens(days, "key-tokens"),
        refused=sum(row.count for row in refused),
        refusals=[(row.reason, row.count) for row in refused],
        durations=forms.DURATIONS,
        endpoints=list(ENDPOINTS),
        **said,
    )


def _as_form(key: KeyView) -> forms.Form:
    """Make the form with the key's present values."""
    values = {
        "name": key.name,
        "status": key.status,
        "allowed_models": "\n".join(key.allowed_models),
        "allowed_ips": "\n".join(key.allowed_ips),
        "expires_at": key.expires_at,
    }
    return forms.filled(values | forms.limits(key), {"allowed_endpoints": key.allowed_endpoints})


def _state(key: KeyView) -> str:
    """Return the status in words; a key past its expiry is called expired."""
    expired = key.expires_at is not None and datetime.fromisoformat(key.expires_at) <= datetime.now(
        UTC
    )
    return "expired" if expired and key.status == "active" else key.status


async def team_options(frame: Frame) -> list[tuple[str, str]]:
    """List the org's teams as options."""
    return await overview.choices(frame.context, frame.actor, Kind.TEAM)


def default_team(teams: list[tuple[str, str]]) -> str:
    return next((id for id, name in teams if name == "Default"), "")


def choices(teams: list[tuple[str, str]]) -> dict[str, Any]:
    """Return the options of the forms of keys."""
    return {"teams": teams, "durations": forms.DURATIONS, "endpoints": list(ENDPOINTS)}


def as_id(text: str) -> str:
    """Only ids stand in addresses, for a name may be another key's tomorrow."""
    return forms.only_id("key", text)


HANDLERS: Final = [
    show_keys,
    new_key,
    create_key,
    duplicate_key,
    show_key,
    save_key,
    ask_delete,
    delete_key,
]
