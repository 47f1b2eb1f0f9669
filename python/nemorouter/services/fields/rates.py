"""Give structs a flat field for the limit, and one for the burst, of each row of ``types.RATES``.

Type checkers do not see these fields. A caller reads them with ``rates_of``, and gives them as
keyword arguments that it has in a mapping.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from msgspec import NODEFAULT
from msgspec.structs import FieldInfo

from nemorouter.types import RATE_FIELDS, RATES

S = TypeVar("S", bound=msgspec.Struct)

LIMIT_FIELDS: Final = tuple(rate.name for rate in RATES)
"""Names of the limits alone, without the bursts."""


def add_rates(
    kind: Any,  # noqa: ANN401 - a type, or a union of types
    *,
    after: str,
    default: Any = NODEFAULT,  # noqa: ANN401 - any value of that type
    names: tuple[str, ...] = RATE_FIELDS,
) -> Callable[[type[S]], type[S]]:
    """Insert a field for each of ``names`` into a struct, after its own field ``after``.

    The order of the fields is the order of the JSON. ``kind`` is the type of the new fields,
    ``default`` their default; without one they are required.
    """

    def rebuild(struct: type[S]) -> type[S]:
        inherited = {name for base in struct.__bases__ for name in _names(base)}
        fields: list[Any] = []
        for field in msgspec.structs.fields(struct):
            if field.name in inherited:
                continue
            fields.append((field.name, field.type, _default(field)))
            if field.name == after:
                fields += [(name, kind, msgspec.field(default=default)) for name in names]
        rebuilt: Any = msgspec.defstruct(
            struct.__name__,
            fields,
            bases=struct.__bases__,
            module=struct.__module__,
            namespace={"__doc__": struct.__doc__, "__qualname__": struct.__qualname__},
            kw_only=True,
            frozen=struct.__struct_config__.frozen,
            forbid_unknown_fields=struct.__struct_config__.forbid_unknown_fields,
        )
        found: type[S] = rebuilt
        return found

    return rebuild


def rates_of(struct: Any) -> dict[str, Any]:  # noqa: ANN401 - a struct that has the fields
    """Return the limits and bursts of a struct or a database row by their names."""
    return {name: getattr(struct, name) for name in RATE_FIELDS}


def _names(base: type) -> tuple[str, ...]:
    found: tuple[str, ...] = getattr(base, "__struct_fields__", ())
    return found


def _default(field: FieldInfo) -> Any:  # noqa: ANN401 - what msgspec.field returns
    if field.default_factory is not NODEFAULT:
        return msgspec.field(default_factory=field.default_factory)
    return msgspec.field(default=field.default)
