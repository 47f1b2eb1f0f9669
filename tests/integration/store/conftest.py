"""Open, empty stores of each kind."""

from tests.support.stores import home, place, settings, store  # noqa: F401 - fixtures
