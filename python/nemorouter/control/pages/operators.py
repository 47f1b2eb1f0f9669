"""Operators: who may change what belongs to the whole installation."""

from typing import Final

from litestar import Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from nemorouter.control.pages import forms
from nemorouter.control.pages.frame import AnyRequest, Frame, open_frame
from nemorouter.control.pages.render import go
from nemorouter.errors import NotFoundError, RefusedError
from nemorouter.services.access import operators


@get("/{org:str}/settings/operators")
async def show_operators(request: AnyRequest, org: FromPath[str]) -> Response[str]:
    """List the operators of the installation."""
    return await _page(await open_frame(request, org, "Settings"), forms.Form())


@post("/{org:str}/settings/operators", status_code=200)
async def add_operator(request: AnyRequest, org: FromPath[str]) -> Response[str] | Redirect:
    """Make a person of any org an operator."""
    frame = await open_frame(request, org, "Settings")
    form = await forms.read(request)
    try:
        new = operators.NewOperator(email=form.text("email"))
        await operators.add_operator(frame.context, frame.actor, new)
    except RefusedError as error:
        return await _page(frame, form, error)
    return go(f"{frame.path}/settings/operators", "operator-added")


@get("/{org:str}/settings/operators/{id:str}/remove")
async def ask_remove(request: AnyRequest, org: FromPath[str], id: FromPath[str]) -> Response[str]:
    """Name the operator, and what the end of it means."""
    frame = await open_frame(request, org, "Settings")
    listed = await operators.list_operators(frame.context, frame.actor)
    found = next((one for one in listed if one.id == id), None)
    if found is None:
        raise NotFoundError("There is nothing at this URL.")
    return frame.page(
        "confirm.html",
        question="Remove this operator?",
        name=found.email,
        detail=found.org_name,
        consequences=[
            "Prices, hosts and the check of the audit log are not theirs any more.",
            "Their role in their organization stays.",
        ],
        verb="Remove operator",
        action=f"{frame.path}/settings/operators/{id}/remove",
        back=f"{frame.path}/settings/operators",
        back_name="Operators",
        hidden={},
    )


@post("/{org:str}/settings/operators/{id:str}/remove", status_code=303)
async def remove_operator(request: AnyRequest, org: FromPath[str], id: FromPath[str]) -> Redirect:
    """Make a person no operator."""
    frame = await open_frame(request, org, "Settings")
    forms.only_id("user", id)
    await operators.remove_operator(frame.context, frame.actor, id)
    return go(f"{frame.path}/settings", "operator-removed")


async def _page(frame: Frame, form: forms.Form, error: RefusedError | None = None) -> Response[str]:
    return frame.page(
        "operators.html",
        status=forms.status(error) if error else 200,
        operators=await operators.list_operators(frame.context, frame.actor),
        **(forms.again(form, error) if error else {"form": form}),
    )


HANDLERS: Final = [show_operators, add_operator, ask_remove, remove_operator]
