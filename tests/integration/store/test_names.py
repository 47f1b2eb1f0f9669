"""Names of models in the sums: a bounded number, whatever clients invent."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nemorouter._core import Row
from nemorouter.datadir.paths import DataDir
from nemorouter.settings import Settings
from nemorouter.store.engine import Store
from nemorouter.store.ledger import record
from nemorouter.store.sums import DAY_MS, MAX_MODELS, MAX_UNPRICED, OTHER
from tests.support.rows import AT, row
from tests.support.world import KEY, ORG, TEAM, USER, World

MANY = 1_000


@pytest.fixture
async def world(any_store: str, tmp_path: Path) -> AsyncIterator[World]:
    made = await World.make(tmp_path / "data")
    await made.key()
    yield made
    await made.close()


def invented(
    many: int,
    *,
    journal_id: int = 1,
    cost: int | None = None,
    status: int = 200,
    at: int = AT,
    org: int = ORG,
) -> list[Row]:
    """Make rows of as many models as there are rows."""
    return [
        row(
            journal_id=journal_id,
            seq=n,
            at_ms=at,
            org_id=org,
            team_id=TEAM,
            user_id=USER,
            key_id=KEY,
            model=f"invented-{journal_id}-{n}",
            status=status,
            cost_nano=cost,
        )
        for n in range(many)
    ]


async def names(world: World, org: int = ORG) -> set[str]:
    """Return the names that the sums of an org hold, after checking that every table has them."""
    daily = await world.all("SELECT DISTINCT day, model FROM spend_daily WHERE org_id = ?", org)
    scope = await world.all(
        "SELECT DISTINCT day, model FROM spend_scope WHERE kind = 1 AND scope_id = ?", org
    )
    assert set(daily) == set(scope)
    for table, where in (("spend_daily", "org_id"), ("requests", "org_id")):
        (requests,) = await world.one(
            f"SELECT {'sum(requests)' if table == 'spend_daily' else 'count(*)'} "
            f"FROM {table} WHERE {where} = ?",
            org,
        )
        (held,) = await world.one(
            "SELECT sum(requests) FROM spend_scope WHERE kind = 1 AND scope_id = ?", org
        )
        assert requests == held
    return {str(model) for _, model in scope}


async def test_invented_names_are_bounded_and_stay_in_the_log(world: World) -> None:
    """Row P11 of the attacks: each of 20,000 names was kept for ever, and slowed the pages."""
    assert await record(world.store, invented(MANY)) == MANY
    found = await names(world)
    assert found == {OTHER} | {f"invented-1-{n}" for n in range(MAX_UNPRICED)}
    assert await world.one("SELECT count(DISTINCT model) FROM requests") == (MANY,)
    await record(world.store, invented(MANY, journal_id=2))
    assert await names(world) == found


async def test_who_invents_names_takes_no_place_from_priced_models(world: World) -> None:
    await record(world.store, invented(MANY))
    await record(world.store, invented(MANY, journal_id=2, cost=7))
    found = await names(world)
    assert len(found) == MAX_MODELS + 1
    assert {f"invented-2-{n}" for n in range(MAX_MODELS - MAX_UNPRICED)} <= found
    spent = await world.one("SELECT sum(cost_nano), sum(unknown_cost) FROM spend_daily")
    assert spent == (7 * MANY, MANY)


async def test_what_was_not_served_has_no_name(world: World) -> None:
    await record(world.store, invented(3, status=404))
    assert await names(world) == {OTHER}
    await record(world.store, invented(1, journal_id=2, status=499, cost=5))
    assert await names(world) == {OTHER, "invented-2-0"}


async def test_each_org_and_day_has_places_of_its_own(world: World) -> None:
    await record(world.store, invented(MANY))
    await record(world.store, invented(3, journal_id=2, at=AT + DAY_MS))
    await record(world.store, invented(3, journal_id=3, org=9))
    assert {f"invented-2-{n}" for n in range(3)} <= await names(world)
    assert await names(world, 9) == {f"invented-3-{n}" for n in range(3)}


async def test_a_name_keeps_its_place(world: World) -> None:
    await record(world.store, invented(5))
    await record(world.store, invented(MANY, journal_id=2))
    again = [
        row(journal_id=3, seq=n, at_ms=AT, org_id=ORG, model="invented-1-4", key_id=KEY)
        for n in (1, 2)
    ]
    await record(world.store, again)
    assert await world.one(
        "SELECT sum(requests) FROM spend_daily WHERE model = ?", "invented-1-4"
    ) == (3,)


async def test_hosts_that_write_at_once_share_the_places(
    world: World, store_kind: str, tmp_path: Path
) -> None:
    if store_kind == "sqlite":
        pytest.skip("one host has one SQLite")
    url = world.settings.database_url
    folders = [tmp_path / f"host{n}" for n in range(4)]
    for folder in folders:
        DataDir(folder).prepare()
    hosts = [
        await Store.open(Settings(data_dir=folder, database_url=url), migrate=False)
        for folder in folders
    ]
    batches = [
        record(store, invented(MAX_UNPRICED * 2 // 3, journal_id=10 * place + turn))
        for turn in range(3)
        for place, store in enumerate(hosts)
    ]
    try:
        await asyncio.gather(*batches)
    finally:
        for store in hosts:
            await store.close()
    assert len(await names(world)) == MAX_UNPRICED + 1
