"""Bring a store to the layout of this program, under a lock. Only this module imports Alembic."""

import secrets
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.util.exc import CommandError
from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError

from nemorouter.errors import ConfigurationError
from nemorouter.store.backend import Backend
from nemorouter.store.schema import SCHEMA_VERSION, VERSION_TABLE, meta


async def upgrade(backend: Backend) -> None:
    """Make the store, or bring it to the newest layout.

    Several processes and hosts may call it at once.
    """
    try:
        await backend.migrate(_upgrade)
    except DBAPIError as error:
        raise (backend.explain(error) or error) from error
    except CommandError as error:
        raise ConfigurationError(
            f"The store at {backend.place} cannot be migrated: {error}."
        ) from error


def _upgrade(connection: Connection) -> None:
    options = {"version_table": VERSION_TABLE}
    found = MigrationContext.configure(connection, opts=options).get_current_revision()
    if found is None or int(found) < SCHEMA_VERSION:  # else another process was faster
        run(connection)
        _first_rows(connection)


def run(connection: Connection) -> None:
    """Run the migrations of this package on an open connection."""
    config = Config()
    config.set_main_option(
        "script_location", str(Path(__file__).parent / "migrations").replace("%", "%%")
    )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _first_rows(connection: Connection) -> None:
    there = set(connection.execute(select(meta.c.key)).scalars())
    for key, value in (("install", secrets.token_hex(16)), ("change_seq", "0")):
        if key not in there:
            connection.execute(meta.insert().values(key=key, value=value))
