"""An org that has just been set up, and its people."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nemorouter import ids, snapshot
from nemorouter.datadir import DataDir
from nemorouter.roles import Actor, Role
from nemorouter.services import bootstrap, owners
from nemorouter.services.context import Context
from nemorouter.settings import Settings


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory as the first run leaves it; tests take copies, which is quicker than migrating each time."""

    async def make(path: Path) -> None:
        made = await Context.open(Settings(data_dir=path), create=True)
        await bootstrap.init(made, org="Acme", email="owner@acme.test", password_hash=None)
        await made.close()

    path = tmp_path_factory.mktemp("template") / "data"
    asyncio.run(make(path))
    return path


@pytest.fixture
async def context(template: Path, tmp_path: Path) -> AsyncIterator[Context]:
    shutil.copytree(template, tmp_path / "data")
    opened = await Context.open(Settings(data_dir=tmp_path / "data", capacity=4096, journal_slots=64))
    yield opened
    await opened.close()


@pytest.fixture
async def owner(context: Context) -> Actor:
    return await bootstrap.local_actor(context)


@pytest.fixture
async def member(context: Context, owner: Actor) -> Actor:
    """A person who may only have keys of their own."""
    person = await owners.add_member(context, owner, owners.NewMember(name="M", email="member@acme.test"))
    return Actor(org=owner.org, role=Role.MEMBER, name=person.email, user=ids.from_text("user", person.id))


@pytest.fixture
def stranger() -> Actor:
    """The owner of another org."""
    return Actor(org=ids.new_id(), role=Role.OWNER, name="stranger")


def end_serving(settings: Settings) -> None:
    """Stop being a server, and leave no memory behind."""
    snapshot.detach(settings)
    note = DataDir(settings.data_dir).note()
    if note is not None:
        Path(note.path).unlink(missing_ok=True)


async def scalar(context: Context, query: str) -> object:
    """One value of the store."""
    async with context.store.read() as connection:
        return (await connection.exec_driver_sql(query)).scalar()
