"""The table of rate limits: Python's equals the core's, and values find their places by name."""

import pytest
from msgspec import structs

from nemorouter import _core
from nemorouter.errors import Code
from nemorouter.types import MONEY, RATES, Policy, per_rate


def test_python_and_the_core_have_one_table() -> None:
    assert tuple(structs.astuple(rate) for rate in RATES) == _core.RATES
    assert _core.MONEY == MONEY
    assert {rate.code.upper() for rate in RATES} <= set(Code.__members__)


def test_values_are_ordered_by_name() -> None:
    assert per_rate() == (None,) * len(RATES) == Policy(kind=1, id=1, version=1).limits
    for place, rate in enumerate(RATES):
        assert per_rate(**{rate.name: 7}).index(7) == place
    with pytest.raises(ValueError, match="no such rate: rph"):
        per_rate(rph=1)


@pytest.mark.parametrize("field", ["limits", "bursts"])
def test_a_policy_has_a_place_for_each_rate(field: str) -> None:
    arena = _core.Arena.private(4)
    policy = Policy(kind=1, id=1, version=1)
    for wrong in ((), (None,) * (len(RATES) + 1)):
        with pytest.raises(ValueError, match=field):
            arena.put(structs.replace(policy, **{field: wrong}))
