"""Policies whose limits are given by the names of their rates."""

from typing import Any

from nemorouter.types import RATES, per_rate


def by_name(fields: dict[str, Any]) -> dict[str, Any]:
    """Replace ``rpm``, ``tpm_burst`` and so on in the fields of a policy by limits and bursts."""
    names = {rate.name for rate in RATES}
    limits = {name: fields[name] for name in names & fields.keys()}
    bursts = {name: fields[f"{name}_burst"] for name in names if f"{name}_burst" in fields}
    others = {
        name: value for name, value in fields.items() if name.removesuffix("_burst") not in names
    }
    if limits:
        others["limits"] = per_rate(**limits)
    if bursts:
        others["bursts"] = per_rate(**bursts)
    return others
