"""An org that has just been set up, and its people."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from nemorouter import ids
from nemorouter.arena import attach
from nemorouter.datadir import orphaned_arenas
from nemorouter.datadir.paths import DataDir
from nemorouter.roles import Actor, Role
from nemorouter.services.operations import bootstrap
from nemorouter.services.scopes.users import NewMember, add_member
from nemorouter.services.transaction.context import Context
from nemorouter.settings import Settings
from tests.support.postgres_server import PostgresServer
from tests.support.sql import sql


def fields(**given: Any) -> dict[str, Any]:
    """Return the fields of a struct that only ``types.RATES`` knows, to be given as keywords."""
    return given


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a data directory as the first run leaves it.

    Tests copy it, which is quicker than migrating each time.
    """
    path = tmp_path_factory.mktemp("template") / "data"
    asyncio.run(_make(Settings(data_dir=path)))
    return path


@pytest.fixture(scope="session")
def postgres_template(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """Make an installation with its store in PostgreSQL; return its folder and that database."""
    path = tmp_path_factory.mktemp("template") / "data"
    url = postgres.database()
    asyncio.run(_make(Settings(data_dir=path, database_url=url)))
    return path, url.rpartition("/")[2]


async def _make(settings: Settings) -> None:
    made = await Context.open(settings, create=True)
    await bootstrap.init(made, org="Acme", email="owner@acme.test", password_hash=None)
    await made.close()


@pytest.fixture
def settings(store_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """Of a copy, on each kind of store."""
    small: dict[str, Any] = {"data_dir": tmp_path / "data", "capacity": 4096, "journal_slots": 64}
    if store_kind == "sqlite":
        shutil.copytree(request.getfixturevalue("template"), tmp_path / "data")
        yield Settings(**small)
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    folder, database = request.getfixturevalue("postgres_template")
    shutil.copytree(folder, tmp_path / "data")
    url = server.database(database)
    yield Settings(database_url=url, **small)
    server.drop(url)


@pytest.fixture(name="settings")
def file_settings(template: Path, tmp_path: Path) -> Settings:
    """Return the settings of a copy of ``template``, whose store is in SQLite."""
    shutil.copytree(template, tmp_path / "data")
    return Settings(data_dir=tmp_path / "data", capacity=4096, journal_slots=64)


@pytest.fixture
async def context(settings: Settings) -> AsyncIterator[Context]:
    opened = await Context.open(settings)
    yield opened
    await opened.close()


@pytest.fixture
async def owner(context: Context) -> Actor:
    return await bootstrap.local_actor(context)


@pytest.fixture
async def member(context: Context, owner: Actor) -> Actor:
    """Add a user who may only have own keys."""
    person = await add_member(context, owner, NewMember(name="M", email="member@acme.test"))
    return Actor(
        org=owner.org, role=Role.MEMBER, name=person.email, user=ids.from_text("user", person.id)
    )


@pytest.fixture
def stranger() -> Actor:
    """Return the owner of another org."""
    return Actor(org=ids.new_id(), role=Role.OWNER, name="stranger")


@pytest.fixture
async def neighbour(context: Context) -> Actor:
    """Make a second org, and return its owner."""
    return Actor(org=await bootstrap.add_org(context, "Next"), role=Role.OWNER, name="neighbour")


def end_serving(settings: Settings) -> None:
    """Stop being a server, and leave no memory behind."""
    attach.detach(settings)
    note = DataDir(settings.data_dir).note()
    if note is not None:
        orphaned_arenas.remove(Path(note.path))


async def scalar(context: Context, query: str) -> object:
    """One value of the store."""
    async with context.store.read() as connection:
        return (await sql(connection, query)).scalar()


async def scalars(context: Context, query: str) -> list[object]:
    """Read a column of the store."""
    async with context.store.read() as connection:
        return list((await sql(connection, query)).scalars())
