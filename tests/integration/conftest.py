"""A worker and the drainer's desk, for whichever part of the package is tested; and a shell."""

from tests.support.desk import desk  # noqa: F401 - a fixture
from tests.support.shell import (  # noqa: F401 - fixtures
    place,
    shell,
    shell_postgres,
    shell_store,
    shell_template,
)
