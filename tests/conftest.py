"""Fixtures that more than one folder of tests needs."""

import asyncio
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from nemorouter.datadir import orphaned_arenas
from nemorouter.datadir.paths import arenas_in_memory
from nemorouter.settings import Settings
from nemorouter.store.engine import Store
from tests.support.postgres_server import PostgresServer

# The gate of the house sees the same cases each time; `pytest --hypothesis-profile campaign` looks
# for new ones.
settings.register_profile(
    "house", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "campaign", parent=settings.get_profile("house"), derandomize=False, max_examples=5_000
)
settings.load_profile("house")

GATES = {"native": "nemorouter._core", "reference": "nemorouter.reference"}


@pytest.fixture(scope="session", autouse=True)
def _no_memory_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Arenas outlive their servers by design; those of the tests end with the run."""
    yield
    base = tmp_path_factory.getbasetemp().resolve()
    for arena in arenas_in_memory():
        home = orphaned_arenas.home_of(arena)
        if home is not None and home.is_relative_to(base):
            orphaned_arenas.remove(arena)


@pytest.fixture(params=sorted(GATES))
def gate_module(request: pytest.FixtureRequest) -> ModuleType:
    """Both implementations of the gate, one after the other."""
    return importlib.import_module(GATES[request.param])


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    """Known answers, shared with the Rust tests."""
    found: dict[str, Any] = json.loads(
        (Path(__file__).parent / "data" / "vectors.json").read_text("utf-8")
    )
    return found


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Run the session's PostgreSQL, started when the first test needs it."""
    server = PostgresServer()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def empty_template(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the name of a database with the newest layout and no rows, to be copied.

    A copy is quicker than migrating each time.
    """
    url = postgres.database()

    async def make() -> None:
        path = tmp_path_factory.mktemp("empty") / "data"
        await (await Store.open(Settings(data_dir=path, database_url=url), migrate=True)).close()

    asyncio.run(make())
    return url.rpartition("/")[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def store_kind(request: pytest.FixtureRequest) -> str:
    """Both kinds of store, one after the other."""
    kind: str = request.param
    return kind


@pytest.fixture
def any_store(
    store_kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Let settings that are loaded name a store of either kind, without rows."""
    if store_kind == "sqlite":
        yield store_kind
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.database(request.getfixturevalue("empty_template"))
    monkeypatch.setenv("NEMOROUTER_DATABASE_URL", url)
    yield store_kind
    server.drop(url)
