"""Test each shape of ``tests/data/traffic`` on each driver.

It compares the client's answer, what reached the provider, the row of the log, the budget.
"""

from collections.abc import Iterator

import pytest

from tests.support.traffic.checks import check
from tests.support.traffic.shapes import DRIVERS, shapes
from tests.support.traffic.stand import Stand, stand


@pytest.fixture(scope="session", params=DRIVERS)
def played(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stand]:
    """Play all shapes on one driver, once a session."""
    with stand(request.param, tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.mark.parametrize("name", list(shapes()))
def test_shape(played: Stand, name: str) -> None:
    reason = shapes()[name].kept_out(played.driver)
    if reason is not None:
        pytest.skip(reason)
    for play in played.plays[name]:
        check(played.driver, play)
