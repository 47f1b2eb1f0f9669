"""Defines the options that several commands share: limits and lists, for new things and changes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import Parameter

from nemorouter.cli.run import UsageError
from nemorouter.errors import RefusedError
from nemorouter.services.fields import values
from nemorouter.types import RATE_FIELDS, RATES

if TYPE_CHECKING:
    from nemorouter.services.budgets.budgets import NewBudget

_NONE = ("none", "unlimited")

T = TypeVar("T")


def _add_rates(options: type[T]) -> type[T]:
    """Put an option for the limit and one for the burst of each rate before a class's own."""
    annotations: dict[str, object] = {}
    for rate in RATES:
        helps = {
            rate.name: f'{rate.label}: a number, or "unlimited"; 0 blocks everything.',
            rate.burst: f"{rate.resource.capitalize()} at once (default: the limit).",
        }
        for field, text in helps.items():
            annotations[field] = Annotated[str | None, Parameter(help=text)]
            setattr(options, field, None)
    options.__annotations__ = annotations | options.__annotations__
    return options


@Parameter(name="*")
@dataclass(frozen=True)
@_add_rates
class Limits:
    """Options that limit a key, team, person or org. In an update, what is not given stays."""

    budget: str | None = None
    """The most to spend in a window, in USD, such as 50 or 0.25; "none" takes the budget away."""

    duration: str | None = None
    """Window of the budget: daily, weekly, monthly (default) or total."""

    models: str | None = None
    """Allowed models, separated by commas: names, or a prefix and *; "all" for every model."""

    def fields(self) -> dict[str, Any]:
        """Return the given options as fields of a NewScope or a ScopePatch."""
        given: dict[str, Any] = {}
        for field in RATE_FIELDS:
            text = getattr(self, field)
            if text is not None:
                given[field] = _number(text, field)
        if self.models is not None:
            given["allowed_models"] = listed(self.models)
        if self.budget is not None:
            given["budget"] = (
                None if self.budget.lower() in _NONE else parse_budget(self.budget, self.duration)
            )
        elif self.duration is not None:
            raise UsageError("--duration is the window of a budget; give --budget too.")
        return given


@Parameter(name="*")
@dataclass(frozen=True)
class KeyLimits:
    """Options that bind only a key."""

    endpoints: str | None = None
    """Allowed endpoints, separated by commas, such as chat/completions,embeddings; "all" for every
    one.
    """

    ips: str | None = None
    """Allowed source addresses and CIDR blocks, separated by commas; "all" for every one."""

    expires: str | None = None
    """When the key ends: a date, a time, or a span such as 12h or 30d; "never" lifts it."""

    def fields(self) -> dict[str, Any]:
        """Return the options that were given, as fields of a NewKey or a KeyPatch."""
        given: dict[str, Any] = {}
        if self.endpoints is not None:
            given["allowed_endpoints"] = listed(self.endpoints)
        if self.ips is not None:
            given["allowed_ips"] = listed(self.ips)
        if self.expires is not None:
            given["expires_at"] = None if self.expires.lower() == "never" else self.expires
        return given


NO_LIMITS = Limits()
NO_KEY_LIMITS = KeyLimits()


RATE_HEADS = tuple(rate.name.upper() for rate in RATES)
"""Heads of a table's columns for the limits, without the bursts."""


def rate_cells(view: Any) -> list[int | None]:  # noqa: ANN401 - any view of a scope
    """Return the limits of a scope, in the order of ``RATE_HEADS``."""
    return [getattr(view, rate.name) for rate in RATES]


def listed(text: str) -> tuple[str, ...]:
    """Return the parts between the commas; none for "all".

    UsageError: there is no part, as with an unset shell variable.
    """
    if text.strip().lower() == "all":
        return ()
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if not parts:
        raise UsageError('A list is empty; "all" lifts it.')
    return parts


def parse_budget(text: str, duration: str | None) -> "NewBudget":
    """Make a budget of the options' texts; monthly where no duration is given."""
    from nemorouter.services.budgets.budgets import NewBudget

    return NewBudget(max_spend=text, duration="monthly" if duration is None else duration)


def _number(text: str, field: str) -> int | None:
    if text.lower() in _NONE:
        return None
    try:
        return values.whole(text, field)
    except RefusedError:
        option = f"--{field.replace('_', '-')}"
        raise UsageError(f"{option} must be a whole number, or unlimited.") from None
