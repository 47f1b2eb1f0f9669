"""List what an audit event changed, field by field. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec


class FieldChange(NamedTuple):
    """One field; None where it was not there."""

    field: str
    was: str | None
    now: str | None


def fields(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[FieldChange]:
    """List the fields that differ, in the order of the event.

    Of a new resource, list the fields that have a value.
    """
    was = _flat(before or {})
    now = _flat(after or {})
    names = [*was, *(name for name in now if name not in was)]
    return [
        FieldChange(name, was.get(name), now.get(name))
        for name in names
        if was.get(name) != now.get(name) and (was.get(name) or now.get(name))
    ]


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, str | None]:
    """Nested objects as ``budget.max_spend``; empty values as None."""
    flat: dict[str, str | None] = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            flat |= _flat(item, f"{prefix}{name}.")
        else:
            flat[prefix + name] = _text(item)
    return flat


def _text(item: object) -> str | None:
    if item is None or item in ("", []):
        return None
    return item if isinstance(item, str) else msgspec.json.encode(item).decode()
