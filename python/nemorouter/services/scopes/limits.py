"""Defines and checks the fields that keys, teams, people and orgs share: new ones, and changes."""

import json
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from nemorouter.errors import RefusedError
from nemorouter.services.budgets.budgets import NewBudget
from nemorouter.services.fields import values
from nemorouter.services.fields.rates import add_rates
from nemorouter.types import RATES, Status


@add_rates(int | None, after="name", default=None)
class NewScope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields of a new scope.

    A limit of None is unlimited, one of 0 blocks everything. A burst of None is the limit itself.
    No models: all.
    """

    name: str
    budget: NewBudget | None = None
    allowed_models: tuple[str, ...] = ()


@add_rates(int | UnsetType | None, after="status", default=UNSET)
class ScopePatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes to a scope. A field that is UNSET stays; None lifts a limit or removes the budget."""

    name: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    budget: NewBudget | UnsetType | None = UNSET
    allowed_models: tuple[str, ...] | UnsetType = UNSET


def columns(given: NewScope | ScopePatch) -> dict[str, Any]:
    """Check the given fields and return the columns that all scopes share.

    RefusedError: a value cannot be used; nothing was written.
    """
    row: dict[str, Any] = {}
    if given.name is not UNSET:
        row["name"] = values.name(given.name)
    row |= _rate_columns(given)
    if given.allowed_models is not UNSET:
        row["allowed_models"] = json.dumps(values.models(given.allowed_models))
    if isinstance(given, ScopePatch) and given.status is not UNSET:
        row["status"] = int(_status(given.status))
    if isinstance(given.budget, NewBudget):  # refuse a bad one before anything is written
        values.max_spend(given.budget.max_spend)
        values.duration(given.budget.duration)
    return row


def _rate_columns(given: NewScope | ScopePatch) -> dict[str, int | None]:
    row: dict[str, int | None] = {}
    for rate in RATES:
        for field in (rate.name, rate.burst):
            number = getattr(given, field)
            if number is not UNSET:
                row[field] = values.limit(number, field, rate.most)
    return row


def _status(text: str) -> Status:
    if text not in ("active", "disabled"):
        raise RefusedError(
            "status must be active or disabled; to end a key, revoke it.", field="status"
        )
    return Status[text.upper()]
