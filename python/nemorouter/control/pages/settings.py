"""Settings: the org, the person's own password and sessions, management keys, webhooks, prices."""

from functools import partial
from typing import Any, Final, TypeVar

from litestar import Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from nemorouter.control import auth
from nemorouter.control.pages import forms, teams
from nemorouter.control.pages.frame import AnyRequest, Frame, open_frame
from nemorouter.control.pages.once import once
from nemorouter.control.pages.render import go
from nemorouter.errors import BusyError, NotFoundError, RefusedError
from nemorouter.services.access import management, signin
from nemorouter.services.access.management import ManagementKeyView, NewManagementKey
from nemorouter.services.budgets import prices, webhooks
from nemorouter.services.budgets.webhooks import NewWebhook, WebhookView
from nemorouter.services.fields.views import ScopeView
from nemorouter.services.scopes.scope import patch_scope, show_scope
from nemorouter.types import Kind

PAGE: Final = 50
T = TypeVar("T", ManagementKeyView, WebhookView)
_SECTIONS: Final = ("org_form", "password_form", "key_form", "hook_form")


@get("/{org:str}/settings")
async def show_settings(request: AnyRequest, org: FromPath[str]) -> Response[str]:
    """All sections that the person may see."""
    return await _page(await open_frame(request, org, "Settings"))


@post("/{org:str}/settings/org", status_code=200)
async def save_org(request: AnyRequest, org: FromPath[str]) -> Response[str] | Redirect:
    """Name and limits of the org."""
    frame = await open_frame(request, org, "Settings")
    form = await forms.read(request)
    try:
        await patch_scope(frame.context, frame.actor, Kind.ORG, frame.org_id, teams.patch(form))
    except RefusedError as error:
        return await _page(frame, "org_form", form, error)
    return go(
        f"/{frame.org_id}/settings", "org-saved"
    )  # its name, and so its address, may be another now


@post("/{org:str}/settings/password", status_code=200)
async def change_password(request: AnyRequest, org: FromPath[str]) -> Response[str] | Redirect:
    """Change the password; other sessions of the user end."""
    frame = await open_frame(request, org, "Settings")
    form = await forms.read(request)
    try:
        auth.require_safe_transport(request)
        new = form.values.get("new_password", "")
        if new != form.values.get("again", ""):
            raise RefusedError("The two passwords differ.", field="again")
        current = form.values.get("current_password", "")
        await signin.change_password(frame.context, auth.require(request), current, new)
    except RefusedError as error:
        return await _page(frame, "password_form", form, error)
    except BusyError as error:
        answer = await _page(frame, "password_form", form, RefusedError(str(error)))
        answer.status_code = 429 if error.throttled else 503
        answer.headers["retry-after"] = str(error.retry_s)
        return answer
    return go(f"{frame.path}/settings", "password-changed")


@post("/{org:str}/settings/sessions", status_code=303)
async def end_sessions(request: AnyRequest, org: FromPath[str]) -> Redirect:
    """Sign out everywhere else."""
    frame = await open_frame(request, org, "Settings")
    await signin.end_other_sessions(frame.context, auth.require(request))
    return go(f"{frame.path}/settings", "sessions-ended")


@post("/{org:str}/settings/management-keys", status_code=200)
async def create_management_key(
    request: AnyRequest, org: FromPath[str]
) -> Response[str] | Redirect:
    """Make a key of the management API, and show it once."""
    frame = await open_frame(request, org, "Settings")
    form = await forms.read(request)
    try:
        create = partial(
            management.create, frame.context, frame.actor, NewManagementKey(name=form.text("name"))
        )
        made = await once(frame, form, create, lambda _: f"{frame.path}/settings")
    except RefusedError as error:
        return await _page(frame, "key_form", form, error)
    if isinstance(made, Redirect):
        return made
    return frame.page(
        "secret.html",
        heading="Your new management key",
        about=(
            f"It manages {frame.org.name} as you do: send it to /api/v1 as Authorization: Bearer. "
            "It calls no model."
        ),
        secret=made.key,
        back=f"{frame.path}/settings",
        back_name="Settings",
    )


@get("/{org:str}/settings/management-keys/{id:str}/revoke")
async def ask_revoke(request: AnyRequest, org: FromPath[str], id: FromPath[str]) -> Response[str]:
    """Names the management key, and what its end means."""
    frame = await open_frame(request, org, "Settings")
    key = _one(await management.list_management_keys(frame.context, frame.actor), id)
    consequences = ["The next call of the API with it is refused with 401.", "It cannot come back."]
    return _ask(
        frame, "management-keys", "revoke", id, "management key", key.name, key.alias, consequences
    )


@post("/{org:str}/settings/management-keys/{id:str}/revoke", status_code=303)
async def revoke_management_key(
    request: AnyRequest, org: FromPath[str], id: FromPath[str]
) -> Redirect:
    """End a management key."""
    frame = await open_frame(request, org, "Settings")
    await management.revoke(frame.context, frame.actor, id)
    return go(f"{frame.path}/settings", "management-key-revoked")


@post("/{org:str}/settings/webhooks", status_code=200)
async def create_webhook(request: AnyRequest, org: FromPath[str]) -> Response[str] | Redirect:
    """Add an address for alerts, and show its signing secret once."""
    frame = await open_frame(request, org, "Settings")
    form = await forms.read(request)
    try:
        create = partial(
            webhooks.create, frame.context, frame.actor, NewWebhook(url=form.text("url"))
        )
        made = await once(frame, form, create, lambda _: f"{frame.path}/settings")
    except RefusedError as error:
        return await _page(frame, "hook_form", form, error)
    if isinstance(made, Redirect):
        return made
    return frame.page(
        "secret.html",
        heading="The webhook’s signing secret",
        about=(
            "Check the signature of each delivery with it, so that nobody else can post alerts to "
            "you."
        ),
        secret=made.secret,
        back=f"{frame.path}/settings",
        back_name="Settings",
    )


@get("/{org:str}/settings/webhooks/{id:str}/delete")
async def ask_delete(request: AnyRequest, org: FromPath[str], id: FromPath[str]) -> Response[str]:
    """Names the webhook, and what its end means."""
    frame = await open_frame(request, org, "Settings")
    hook = _one(await webhooks.list_webhooks(frame.context, frame.actor), id)
    consequences = [
        "No alert is posted there any more, nor is one that waits.",
        "Its signing secret is of no more use.",
    ]
    return _ask(frame, "webhooks", "delete", id, "webhook", hook.url, "", consequences)


@post("/{org:str}/settings/webhooks/{id:str}/delete", status_code=303)
async def delete_webhook(request: AnyRequest, org: FromPath[str], id: FromPath[str]) -> Redirect:
    """Post nothing there any more."""
    frame = await open_frame(request, org, "Settings")
    await webhooks.delete_webhook(frame.context, frame.actor, id)
    return go(f"{frame.path}/settings", "webhook-deleted")


@get("/{org:str}/settings/prices")
async def show_prices(request: AnyRequest, org: FromPath[str]) -> Response[str]:
    """Prices of models, for the whole installation."""
    frame = await open_frame(request, org, "Settings")
    start = forms.filled({"output": "0", "max_output": "4096"})
    return await _prices(frame, start, cursor=request.query_params.get("cursor"))


@post("/{org:str}/settings/prices", status_code=200)
async def save_price(request: AnyRequest, org: FromPath[str]) -> Response[str] | Redirect:
    """Set the price of a model."""
    frame = await open_frame(request, org, "Settings")
    form = await forms.read(request)
    try:
        most = forms.number(form, "max_output")
        new = prices.Price(
            model=form.text("model"),
            input=forms.optional(form, "input"),
            cached=forms.optional(form, "cached"),
            output=forms.given(form, "output") or "0",
            request=forms.given(form, "request") or "0",
            max_output=4096 if most is None else most,
        )
        await prices.set_price(frame.context, frame.actor, new)
    except RefusedError as error:
        return await _prices(frame, form, error)
    return go(f"{frame.path}/settings/prices", "price-saved")


@get("/{org:str}/settings/prices/delete")
async def ask_delete_price(request: AnyRequest, org: FromPath[str]) -> Response[str]:
    """Name the model, and what the end of its price means."""
    frame = await open_frame(request, org, "Settings")
    model = request.query_params.get("model", "")
    await prices.show_price(frame.context, frame.actor, model)
    return frame.page(
        "confirm.html",
        question="Delete this price?",
        name=model,
        detail="",
        consequences=[
            "Where a budget applies, requests of this model are refused.",
            "Elsewhere their cost is recorded as unknown.",
        ],
        verb="Delete price",
        action=f"{frame.path}/settings/prices/delete",
        back=f"{frame.path}/settings/prices",
        back_name="Prices",
        hidden={"model": model},
    )


@post("/{org:str}/settings/prices/delete", status_code=303)
async def delete_price(request: AnyRequest, org: FromPath[str]) -> Redirect:
    """Delete the price of a model."""
    frame = await open_frame(request, org, "Settings")
    form = await forms.read(request)
    await prices.delete_price(frame.context, frame.actor, form.values.get("model", ""))
    return go(f"{frame.path}/settings/prices", "price-deleted")


def _one(listed: list[T], id: str) -> T:
    """Return the item of a list with this id. NotFoundError: there is none."""
    found = next((one for one in listed if one.id == id), None)
    if found is None:
        raise NotFoundError("There is nothing at this URL.")
    return found


def _ask(
    frame: Frame,
    section: str,
    verb: str,
    id: str,
    what: str,
    name: str,
    detail: str,
    consequences: list[str],
) -> Response[str]:
    """Show the question before something ends."""
    return frame.page(
        "confirm.html",
        question=f"Delete this {what}?",
        name=name,
        detail=detail,
        consequences=consequences,
        verb=f"Delete {what}",
        action=f"{frame.path}/settings/{section}/{id}/{verb}",
        back=f"{frame.path}/settings#{section}",
        back_name="Settings",
        hidden={},
    )


async def _prices(
    frame: Frame, form: forms.Form, error: RefusedError | None = None, cursor: str | None = None
) -> Response[str]:
    found = await prices.page_prices(frame.context, frame.actor, limit=PAGE, cursor=cursor)
    return frame.page(
        "prices.html",
        status=forms.status(error) if error else 200,
        prices=found.data,
        **frame.turns("/settings/prices", cursor, found.next_cursor),
        **(forms.again(form, error) if error else {"form": form}),
    )


async def _page(
    frame: Frame,
    section: str = "",
    form: forms.Form | None = None,
    error: RefusedError | None = None,
) -> Response[str]:
    """All sections; the one that was refused keeps what was typed."""
    org: ScopeView = await show_scope(frame.context, frame.actor, Kind.ORG, frame.org_id)
    said: dict[str, Any] = dict.fromkeys(_SECTIONS, forms.Form()) | {
        "org_form": teams.as_form(org),
        "problem": "",
    }
    if form is not None and error is not None:
        again = forms.again(form, error)
        said |= {section: again["form"], "problem": again["problem"]}
    if frame.can("management_key.read"):
        said["management_keys"] = await management.list_management_keys(frame.context, frame.actor)
    if frame.can("webhook.read"):
        said["webhooks"] = await webhooks.list_webhooks(frame.context, frame.actor)
    return frame.page(
        "settings.html",
        status=forms.status(error) if error else 200,
        org=org,
        durations=forms.DURATIONS,
        **said,
    )


HANDLERS: Final = [
    show_settings,
    save_org,
    change_password,
    end_sessions,
    create_management_key,
    ask_revoke,
    revoke_management_key,
    create_webhook,
    ask_delete,
    delete_webhook,
    show_prices,
    save_price,
    ask_delete_price,
    delete_price,
]
