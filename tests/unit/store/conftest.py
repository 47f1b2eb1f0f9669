"""An open, empty store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nemorouter.settings import Settings
from nemorouter.store.engine import Store


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Store]:
    opened = await Store.open(settings, migrate=True)
    yield opened
    await opened.close()
