"""An org that has just been set up, on each kind of store."""

from tests.support.installation import (  # noqa: F401 - fixtures
    context,
    owner,
    postgres_template,
    settings,
    template,
)
