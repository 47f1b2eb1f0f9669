"""Let members tighten their own keys, and never loosen them.

Limits, budget, allow-lists, expiry and state are what an admin relies on, whoever set them. A
member may also rename the key. A member changes neither its state nor its team.
"""

import ipaddress
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import UNSET, UnsetType
from sqlalchemy import Row

from nemorouter.errors import ForbiddenError
from nemorouter.services.budgets.budgets import NewBudget
from nemorouter.services.fields import values
from nemorouter.types import RATES, Rate


def require_tighter(
    old: Row[Any],
    new: Mapping[str, Any],
    budget: NewBudget | None,
    given: NewBudget | UnsetType | None,
) -> None:
    """Raise a ForbiddenError that names the first field by which a change loosens a key.

    ``old`` is the key's row, ``new`` the columns that change; ``budget`` is the key's budget and
    ``given`` what is asked for in its place.
    """
    before = dict(old._mapping)
    after = {**before, **new}
    if after["status"] != old.status:
        _refuse("status", "Ask an admin, or revoke the key.")
    for rate in RATES:
        if not _rate_holds(rate, before, after):
            _refuse(rate.name)
    for field, holds in _LISTS.items():
        if not holds(_decoded(getattr(old, field)), _decoded(after[field])):
            _refuse(field)
    if old.expires_ms is not None and not _at_most(after["expires_ms"], old.expires_ms):
        _refuse("expires_at")
    if given is not UNSET and budget is not None and not _budget_holds(budget, given):
        _refuse("budget", "Its window stays, and its amount may only fall.")


def _refuse(field: str, hint: str = "Ask an admin for more.") -> None:
    raise ForbiddenError(
        f"{field}: a member may tighten their own key, and not loosen it. {hint}", field=field
    )


def _at_most(value: int | None, bound: int) -> bool:
    return value is not None and value <= bound


def _rate_holds(rate: Rate, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return true if the limit and the burst it stands for are no larger than before."""
    limit = old[rate.name]
    burst = old[rate.burst]
    if limit is None:
        return True
    most = limit if burst is None else burst
    after = new[rate.name] if new[rate.burst] is None else new[rate.burst]
    return _at_most(new[rate.name], limit) and _at_most(after, most)


def _decoded(value: str | int) -> Any:  # noqa: ANN401 - a list or a mask
    return json.loads(value) if isinstance(value, str) else value


def _models_hold(old: list[str], new: list[str]) -> bool:
    """Return true if every pattern of ``new`` matches only what a pattern of ``old`` matches."""

    def covers(wide: str, narrow: str) -> bool:
        return wide == narrow or (wide.endswith("*") and narrow.startswith(wide[:-1]))

    return not old or (bool(new) and all(any(covers(w, n) for w in old) for n in new))


def _networks_hold(old: list[str], new: list[str]) -> bool:
    """Return true if every block of ``new`` lies within a block of ``old``."""
    wide = [ipaddress.ip_network(block) for block in old]

    def inside(block: str) -> bool:
        narrow = ipaddress.ip_network(block)
        return any(
            narrow.version == one.version
            and int(one.network_address) <= int(narrow.network_address)
            and int(narrow.broadcast_address) <= int(one.broadcast_address)
            for one in wide
        )

    return not old or (bool(new) and all(inside(block) for block in new))


def _mask_holds(old: int, new: int) -> bool:
    """Return true if no bit is new; 0 stands for all."""
    return not old or (new != 0 and not new & ~old)


_LISTS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "allowed_models": _models_hold,
    "allowed_endpoints": _mask_holds,
    "allowed_ips": _networks_hold,
}
"""By column: whether a new list allows no more than the old one. An empty list allows all."""


def _budget_holds(old: NewBudget, new: NewBudget | None) -> bool:
    return (
        new is not None
        and values.duration(new.duration) is values.duration(old.duration)
        and values.max_spend(new.max_spend) <= values.max_spend(old.max_spend)
    )
