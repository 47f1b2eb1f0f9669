"""Python's catalogue of refusals is the native one."""

from nemorouter._core import catalogue
from nemorouter.errors import CATALOGUE


def test_both_catalogues_are_one() -> None:
    native = {number: tuple(row) for number, *row in catalogue()}
    assert native == {int(code): tuple(row) for code, row in CATALOGUE.items()}
