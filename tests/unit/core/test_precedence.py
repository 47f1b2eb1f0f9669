"""Which refusal answers when several apply: the contract's order, for all pairs, by both gates."""

from types import ModuleType
from typing import Any, NamedTuple

import pytest

from nemorouter.errors import Code
from nemorouter.types import RATES, Kind, ModelPrice, Policy, Status, per_rate

PEPPER = b"p" * 32
SECRET = "sk-nemo-" + "P" * 20
SCOPES = (Kind.KEY, Kind.TEAM, Kind.USER, Kind.ORG)
OWNERS = SCOPES[1:]


class Spoil(NamedTuple):
    """A reason to refuse: the fields of one scope's policy, or the model that is asked for."""

    code: Code
    kind: Kind
    fields: dict[str, Any]
    rate: int | None = None
    model: str = "m"

    @property
    def name(self) -> str:
        rate = "" if self.rate is None else f"-{RATES[self.rate].name}"
        return f"{self.code.name.lower()}{rate}-{self.kind.name.lower()}-{'-'.join(self.fields)}"


SPOILS = [
    Spoil(Code.KEY_REVOKED, Kind.KEY, {"status": Status.REVOKED}),
    Spoil(Code.KEY_EXPIRED, Kind.KEY, {"expires_ms": 1}),
    *(Spoil(Code.OWNER_DISABLED, kind, {"status": Status.DISABLED}) for kind in OWNERS),
    *(Spoil(Code.OWNER_DISABLED, kind, {"expires_ms": 1}) for kind in OWNERS),
    *(Spoil(Code.KEY_WRONG_IP, kind, {"ips": ("192.168.0.0/16",)}) for kind in SCOPES),
    *(Spoil(Code.ENDPOINT_NOT_ALLOWED, kind, {"endpoints": 2}) for kind in SCOPES),
    *(Spoil(Code.MODEL_NOT_ALLOWED, kind, {"models": ("other",)}) for kind in SCOPES),
    Spoil(Code.MODEL_PRICE_UNKNOWN, Kind.ORG, {}, model="unpriced"),
    *(
        Spoil(Code[rate.code.upper()], kind, {"limits": per_rate(**{rate.name: 0})}, place)
        for kind in SCOPES
        for place, rate in enumerate(RATES)
    ),
    *(Spoil(Code.BUDGET_EXCEEDED, kind, {"cap": 0}) for kind in SCOPES),
]
"""In the order of the checks."""

_TOLD = {spoil.code for spoil in SPOILS if spoil.rate is not None} | {Code.BUDGET_EXCEEDED}
"""Codes whose refusals name the scope."""


def merged(spoils: tuple[Spoil, ...], kind: Kind) -> dict[str, Any]:
    """Return the fields of one scope's policy with all that ``spoils`` change in it."""
    fields: dict[str, Any] = {"cap": 10**9}
    for spoil in spoils:
        if spoil.kind is not kind:
            continue
        for name, value in spoil.fields.items():
            if name == "limits" and name in fields:
                value = tuple(
                    a if b is None else b for a, b in zip(fields[name], value, strict=True)
                )
            fields[name] = value
    return fields


def answer(module: ModuleType, *spoils: Spoil) -> tuple[int, int, int | None]:
    """Return code, kind and rate of the refusal when all of ``spoils`` apply."""
    arena = module.Arena.private(8)
    gate = module.Gate(arena, module.Journal.private(4), [(1, PEPPER)], module.ManualClock())
    arena.put_price(ModelPrice(model="m", version=1, input=10**9, output=10**9))
    for kind in reversed(SCOPES):
        owners: dict[str, Any] = {} if kind is Kind.ORG else {"org": 1}
        if kind is Kind.KEY:
            owners |= {"team": 1, "user": 1, "digest": module.hash_key(SECRET, PEPPER)}
        arena.put(Policy(kind=kind, id=1, version=1, **owners, **merged(spoils, kind)))
    index = gate.identify(f"Bearer {SECRET}", "10.0.0.1", 0)
    if index < 0:
        return -index, 0, None
    model = "unpriced" if any(spoil.model == "unpriced" for spoil in spoils) else "m"
    refusal = gate.admit(index, model, 0, 0, 40, 10, 1, False)
    return (0, 0, None) if isinstance(refusal, int) else (refusal.code, refusal.kind, refusal.rate)


def expected(spoil: Spoil) -> tuple[int, int, int | None]:
    return spoil.code, spoil.kind if spoil.code in _TOLD else 0, spoil.rate


@pytest.mark.parametrize("first", range(len(SPOILS)), ids=[spoil.name for spoil in SPOILS])
def test_the_first_check_answers(gate_module: ModuleType, first: int) -> None:
    assert answer(gate_module) == (0, 0, None)
    assert answer(gate_module, SPOILS[first]) == expected(SPOILS[first])
    for later in SPOILS[first + 1 :]:
        found = answer(gate_module, SPOILS[first], later)
        assert found == expected(SPOILS[first]), later.name
