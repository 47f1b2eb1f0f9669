"""The ways in and out: sign-in, first run, an accepted invitation, sign-out; and the static files.

Who is known and who is not must never be told apart here.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from litestar import Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from nemorouter.control import auth
from nemorouter.control.pages import forms
from nemorouter.control.pages.frame import DONE, AnyRequest, home_path
from nemorouter.control.pages.render import go, page, static
from nemorouter.errors import BusyError, NotFoundError, RefusedError
from nemorouter.services.access import invitations, reset, sessions, setup, signin


@get("/")
async def root(request: AnyRequest) -> Redirect:
    """To the person's org; to the sign-in, or to the first run."""
    signed = await auth.optional(request)
    if signed is not None and signed.session:
        return go(await home_path(auth.context_of(request), signed.actor))
    return go("/setup" if await setup.is_open(auth.context_of(request)) else "/login")


@get("/login")
async def show_login(request: AnyRequest) -> Response[str] | Redirect:
    """Show the sign-in form; redirect a user who is signed in."""
    signed = await auth.optional(request)
    if signed is not None and signed.session:
        return go(await home_path(auth.context_of(request), signed.actor))
    return await _login(
        request, forms.Form(), flash=DONE.get(request.query_params.get("done", ""), "")
    )


@post("/login", status_code=200)
async def login(request: AnyRequest) -> Response[Any]:
    """Check e-mail and password."""
    form = await forms.read(request)

    async def enter() -> str:
        auth.require_safe_transport(request)
        where = auth.source_ip(request)
        return await signin.sign_in(
            auth.context_of(request),
            form.values.get("email", ""),
            form.values.get("password", ""),
            where,
        )

    return await _enter(request, form, enter, _login)


@post("/logout", status_code=303)
async def logout(request: AnyRequest) -> Redirect:
    """End this session."""
    await signin.sign_out(auth.context_of(request), auth.require(request))
    answer = go("/login", "signed-out")
    auth.sign_out(request, answer)
    return answer


@get("/setup")
async def show_setup(request: AnyRequest) -> Response[str] | Redirect:
    """Show the form of the first run, for the holder of the printed token."""
    context = auth.context_of(request)
    if not await setup.is_open(context):
        return go("/login")
    token = request.query_params.get("token", "")
    if not token:
        return page("setup_token.html", form=forms.Form())
    try:
        await setup.check(context, token)
    except NotFoundError as error:
        return page("setup_token.html", status=404, form=forms.Form(), problem=str(error))
    return await _setup(request, forms.filled({"token": token}))


@post("/setup", status_code=200)
async def complete_setup(request: AnyRequest) -> Response[Any]:
    """Make the owner, and sign them in."""
    form = await forms.read(request)

    async def enter() -> str:
        auth.require_safe_transport(request)
        return await setup.complete(
            auth.context_of(request),
            form.values.get("token", ""),
            org=form.text("org"),
            email=form.text("email"),
            name=form.text("name"),
            password=_twice(form),
            source_ip=auth.source_ip(request),
        )

    return await _enter(request, form, enter, _setup, "welcome")


@get("/invitations/accept")
async def show_invitation(request: AnyRequest) -> Response[str]:
    """Show what the link invites to."""
    return await _invitation(
        request, forms.filled({"token": request.query_params.get("token", "")})
    )


@post("/invitations/accept", status_code=200)
async def accept_invitation(request: AnyRequest) -> Response[Any]:
    """Join with a password of one's own."""
    form = await forms.read(request)

    async def enter() -> str:
        auth.require_safe_transport(request)
        context = auth.context_of(request)
        where = auth.source_ip(request)
        return await invitations.accept(
            context, form.values.get("token", ""), form.text("name"), _twice(form), where
        )

    return await _enter(request, form, enter, _invitation)


@get("/reset")
async def show_reset(request: AnyRequest) -> Response[str]:
    """Show the form of a new password, for the holder of a link."""
    return await _reset(request, forms.filled({"token": request.query_params.get("token", "")}))


@post("/reset", status_code=200)
async def complete_reset(request: AnyRequest) -> Response[Any]:
    """Set the password, and sign in."""
    form = await forms.read(request)

    async def enter() -> str:
        auth.require_safe_transport(request)
        context = auth.context_of(request)
        where = auth.source_ip(request)
        return await reset.complete(context, form.values.get("token", ""), _twice(form), where)

    return await _enter(request, form, enter, _reset, "password-changed")


@get("/static/{name:str}")
async def static_file(name: FromPath[str]) -> Response[bytes]:
    """Style sheet, script, icon."""
    found = static(name)
    if found is None:
        raise NotFoundError("There is nothing at this URL.")
    return found


@get("/favicon.ico")
async def favicon() -> Response[bytes]:
    """Send the icon that browsers request by themselves."""
    return await static_file.fn("nemo.svg")  # type: ignore[no-any-return]


async def _enter(
    request: AnyRequest,
    form: forms.Form,
    enter: Callable[[], Awaitable[str]],
    show: Callable[..., Awaitable[Response[str]]],
    done: str = "",
) -> Response[Any]:
    """Run ``enter``; with its session go to the org's home, else show the form once more."""
    try:
        token = await enter()
    except RefusedError as error:
        kept = form.refused(error)
        return await show(request, kept, problem=kept.problem, status=400)
    except BusyError as error:
        answer = await show(
            request, form, problem=str(error), status=429 if error.throttled else 503
        )
        answer.headers["retry-after"] = str(error.retry_s)
        return answer
    context = auth.context_of(request)
    signed = await sessions.find(context, token, auth.source_ip(request))
    redirect = go(await home_path(context, signed.actor) if signed else "/", done)
    auth.sign_in(request, redirect, token)
    return redirect


async def _login(
    _: AnyRequest, form: forms.Form, *, status: int = 200, **said: str
) -> Response[str]:
    return page("login.html", status=status, form=form, **said)


async def _setup(
    _: AnyRequest, form: forms.Form, *, status: int = 200, **said: str
) -> Response[str]:
    return page("setup.html", status=status, form=form, **said)


async def _invitation(
    request: AnyRequest, form: forms.Form, *, status: int = 200, problem: str = ""
) -> Response[str]:
    try:
        invited = await invitations.peek(auth.context_of(request), form.values.get("token", ""))
    except NotFoundError as error:
        return page("invitation.html", status=404, invited=None, form=form, problem=str(error))
    return page("invitation.html", status=status, invited=invited, form=form, problem=problem)


async def _reset(
    request: AnyRequest, form: forms.Form, *, status: int = 200, problem: str = ""
) -> Response[str]:
    try:
        email = await reset.peek(auth.context_of(request), form.values.get("token", ""))
    except NotFoundError as error:
        return page("reset.html", status=404, email="", form=form, problem=str(error))
    return page("reset.html", status=status, email=email, form=form, problem=problem)


def _twice(form: forms.Form) -> str:
    """Return the password if it was typed twice alike."""
    password = form.values.get("password", "")
    if password != form.values.get("again", ""):
        raise RefusedError("The two passwords differ.", field="again")
    return password


HANDLERS: Final = [
    root,
    show_login,
    login,
    logout,
    show_setup,
    complete_setup,
    show_invitation,
    accept_invitation,
    show_reset,
    complete_reset,
    static_file,
    favicon,
]
