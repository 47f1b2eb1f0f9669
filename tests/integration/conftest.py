"""A worker and the drainer's desk, for whichever part of the package is tested."""

from tests.support.desk import desk  # noqa: F401 - a fixture
from tests.support.shell import (  # noqa: F401 - fixtures
    place,
    postgres_template,
    shell,
    store_kind,
    template,
)
