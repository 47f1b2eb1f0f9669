"""The fields that keys, teams, people and orgs share, as people give them: new ones, and changes to
old ones.
"""

import json
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from nemorouter.errors import RefusedError
from nemorouter.services.budgets.budgets import NewBudget
from nemorouter.services.fields import values
from nemorouter.types import Status

RATES: Final = ("rpm", "rpm_burst", "tpm", "tpm_burst")


class NewScope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """None = unlimited, 0 = blocks everything; a burst of None is the limit itself; no models =
    all.
    """

    name: str
    rpm: int | None = None
    rpm_burst: int | None = None
    tpm: int | None = None
    tpm_burst: int | None = None
    budget: NewBudget | None = None
    allowed_models: tuple[str, ...] = ()


class ScopePatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is UNSET stays; None lifts a limit or takes the budget away."""

    name: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    rpm: int | UnsetType | None = UNSET
    rpm_burst: int | UnsetType | None = UNSET
    tpm: int | UnsetType | None = UNSET
    tpm_burst: int | UnsetType | None = UNSET
    budget: NewBudget | UnsetType | None = UNSET
    allowed_models: tuple[str, ...] | UnsetType = UNSET


def columns(given: NewScope | ScopePatch) -> dict[str, Any]:
    """The shared columns of what was given, checked."""
    row: dict[str, Any] = {}
    if given.name is not UNSET:
        row["name"] = values.name(given.name)
    for rate in RATES:
        number = getattr(given, rate)
        if number is not UNSET:
            row[rate] = values.limit(number, rate)
    if given.allowed_models is not UNSET:
        row["allowed_models"] = json.dumps(values.models(given.allowed_models))
    if isinstance(given, ScopePatch) and given.status is not UNSET:
        row["status"] = int(_status(given.status))
    if isinstance(given.budget, NewBudget):  # refuse a bad one before anything is written
        values.max_spend(given.budget.max_spend)
        values.duration(given.budget.duration)
    return row


def _status(text: str) -> Status:
    if text not in ("active", "disabled"):
        raise RefusedError(
            "status must be active or disabled; to end a key, revoke it.", field="status"
        )
    return Status[text.upper()]
