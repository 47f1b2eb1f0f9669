"""Read forms: keep what was typed, put each error beside its field, make values for services."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from litestar import Request
from litestar.exceptions import ClientException

from nemorouter import ids
from nemorouter.control import policy
from nemorouter.errors import ConflictError, ForbiddenError, NotFoundError, RefusedError
from nemorouter.services.budgets.budgets import NewBudget
from nemorouter.services.fields import values
from nemorouter.services.fields.rates import rates_of
from nemorouter.services.fields.views import ScopeView
from nemorouter.types import RATES

MAX_FIELDS: Final = 200
DURATIONS: Final = [
    ("monthly", "Monthly"),
    ("weekly", "Weekly"),
    ("daily", "Daily"),
    ("total", "Total, never resets"),
]

_PUBLIC: Final = {  # names of the interface, as the pages say them
    "max_spend": "The budget",
    **{rate.name: rate.label for rate in RATES},
    "allowed_models": "Allowed models",
    "allowed_endpoints": "Allowed endpoints",
    "allowed_ips": "Allowed IP addresses",
    "expires_at": "The expiry",
    "name": "The name",
    "email": "The e-mail address",
    "duration": "The budget window",
    "org": "The organization's name",
    "url": "The URL",
    "model": "The model",
    "input": "The price of input",
    "cached": "The price of cached input",
    "output": "The price of output",
    "request": "The price of a request",
    "max_output": "The output reserved",
}


class Form(NamedTuple):
    """Fields as text. ``errors`` by field; the error of no field is ``problem``."""

    values: Mapping[str, str] = {}
    errors: Mapping[str, str] = {}
    problem: str = ""
    lists: Mapping[str, Sequence[str]] = {}

    def text(self, name: str) -> str:
        """Return what was typed in a field, without the blanks around it."""
        return self.values.get(name, "").strip()

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a field that may occur several times."""
        return tuple(self.lists.get(name, ()))

    def refused(self, error: RefusedError) -> "Form":
        """Copy the form with the error at its field, or at the top if it has no such field."""
        if error.field and error.field in self.lists:
            return self._replace(errors={error.field: spoken(error)})
        return self._replace(problem=spoken(error))


def filled(
    values: Mapping[str, str | None], lists: Mapping[str, Sequence[str]] | None = None
) -> Form:
    """Make a form that starts with the present values."""
    return Form(
        {name: "" if value is None else value for name, value in values.items()}, lists=lists or {}
    )


def spoken(error: RefusedError) -> str:
    """Return the message, with the field called as the page calls it."""
    text = str(error)
    field = error.field or ""
    if field in _PUBLIC and text.startswith(field):
        text = _PUBLIC[field] + text[len(field) :]
    return text if text[-1:] in ".!?" else text + "."


async def read(request: Request[Any, Any, Any]) -> Form:
    """Read the urlencoded body of a form. ClientException: the body is no form."""
    body = await request.body()
    if len(body) > policy.MAX_FORM:
        raise ClientException("The form is too large.", status_code=413)
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError:
        raise ClientException("The form cannot be read.") from None
    lists: dict[str, list[str]] = {}
    for name, value in pairs:
        lists.setdefault(name, []).append(value)
    return Form({name: values[-1] for name, values in lists.items()}, lists=lists)


def given(form: Form, name: str) -> str:
    """Return the text of a field that restricts.

    RefusedError: the form has no such field, which must not pass for a blank one that lifts.
    """
    if name not in form.values:
        raise RefusedError(f"{name} is missing in the form; load the page again.", field=name)
    return form.text(name)


def number(form: Form, name: str) -> int | None:
    """Read a limit such as ``100,000``; blank is None = unlimited."""
    text = given(form, name)
    return values.whole(text, name) if text else None


def rates(form: Form) -> dict[str, Any]:
    """Return the limit of each rate by its name. RefusedError: one of them is no number."""
    return {rate.name: number(form, rate.name) for rate in RATES}


def budget(form: Form) -> NewBudget | None:
    """Read a budget; None if no amount was typed."""
    amount = given(form, "max_spend")
    if not amount:
        return None
    return NewBudget(max_spend=amount, duration=given(form, "duration"))


def lines(form: Form, name: str) -> tuple[str, ...]:
    """Entries a line, or separated by commas; blanks within one stay."""
    return _entries(form, name, given(form, name).replace(",", "\n").splitlines())


def words(form: Form, name: str) -> tuple[str, ...]:
    """Entries separated by blanks, commas or lines."""
    return _entries(form, name, given(form, name).replace(",", " ").split())


def ticked(form: Form, name: str) -> tuple[str, ...]:
    """Return the boxes that are ticked. A blank value says that the form has them."""
    given(form, name)
    return tuple(value for value in form.all(name) if value)


def optional(form: Form, name: str) -> str | None:
    """Text; blank is None."""
    return given(form, name) or None


def _entries(form: Form, name: str, parts: Sequence[str]) -> tuple[str, ...]:
    entries = tuple(part.strip() for part in parts if part.strip())
    if form.text(name) and not entries:
        raise RefusedError(f"{name} names nothing; leave it empty to lift it.", field=name)
    return entries


def limits(view: ScopeView) -> dict[str, str | None]:
    """Return the limits and the budget that hold now, as fields of a form."""
    shown = {rate.name: rates_of(view)[rate.name] for rate in RATES}
    return {
        **{name: None if limit is None else str(limit) for name, limit in shown.items()},
        "max_spend": view.budget.max_spend if view.budget else None,
        "duration": view.budget.duration if view.budget else "monthly",
    }


def again(form: Form, error: RefusedError) -> dict[str, Any]:
    """Return what a template needs to show the form again: typed values and errors."""
    form = form.refused(error)
    return {"form": form, "problem": form.problem}


def status(error: RefusedError) -> int:
    """HTTP status of a form that was refused."""
    if isinstance(error, ForbiddenError):
        return 403
    return 409 if isinstance(error, ConflictError) else 400


def only_id(kind: str, text: str) -> str:
    """Return the id in an address. NotFoundError: the text is no id."""
    try:
        ids.from_text(kind, text)
    except ValueError:
        raise NotFoundError("There is nothing at this URL.") from None
    return text
