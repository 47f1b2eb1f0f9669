"""Settings of a store in SQLite."""

from tests.support.stores import settings  # noqa: F401 - a fixture
