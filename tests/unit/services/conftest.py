"""An org that has just been set up, in SQLite."""

from tests.support.installation import context, file_settings, owner, template  # noqa: F401 - fixtures
