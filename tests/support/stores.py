"""An open, empty store."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from nemorouter.settings import Settings
from nemorouter.store.engine import Store
from tests.support.postgres_server import PostgresServer


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a store in SQLite, not made yet."""
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
def place(store_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """Of a store of either kind, not made yet."""
    if store_kind == "sqlite":
        yield Settings(data_dir=tmp_path / "data")
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.database()
    yield Settings(data_dir=tmp_path / "data", database_url=url)
    server.drop(url)


@pytest.fixture
def home(any_store: str, tmp_path: Path) -> Settings:
    """Of ``store``."""
    return Settings.load(data_dir=tmp_path / "data")


@pytest.fixture
async def store(home: Settings) -> AsyncIterator[Store]:
    """Of either kind."""
    opened = await Store.open(home, migrate=True)
    yield opened
    await opened.close()
