"""First run and secrets: made once, noticed when missing or wrong, rotated on the record."""

import asyncio
from pathlib import Path

import pytest

from nemorouter.datadir.secrets import load_peppers
from nemorouter.errors import ConfigurationError, ConflictError, NotFoundError, RefusedError
from nemorouter.roles import Actor
from nemorouter.services.operations import bootstrap, peppers
from nemorouter.services.scopes import keys
from nemorouter.services.transaction.context import Context, audit_key_path
from nemorouter.settings import Settings
from nemorouter.store.engine import Store
from nemorouter.store.fingerprints import check_peppers
from tests.support.installation import scalar, scalars

OTHER = "ab" * 32


async def test_the_first_run_makes_all_that_is_needed(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    store = await Store.open(settings, migrate=True)
    first = await bootstrap.bootstrap(store, settings)
    assert first is not None
    assert first.api_key is not None
    assert first.api_key not in repr(first)
    assert await bootstrap.bootstrap(store, settings) is None
    async with store.read() as connection:
        assert await check_peppers(connection, settings) == load_peppers(settings.pepper_path)
    context = await Context.attach(store, settings)
    assert [
        key.name
        for key in (await keys.list_keys(context, await bootstrap.local_actor(context))).data
    ] == ["first key"]
    await store.close()


async def test_of_two_first_runs_one_wins(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    stores = await asyncio.gather(*(Store.open(settings, migrate=True) for _ in range(2)))
    runs = await asyncio.gather(*(bootstrap.bootstrap(store, settings) for store in stores))
    assert sorted(run is None for run in runs) == [False, True]
    for store in stores:
        await store.close()


async def test_init_once(context: Context) -> None:
    with pytest.raises(ConflictError, match="set up already"):
        await bootstrap.init(context, org="Again", email="a@b.c", password_hash=None)
    assert await scalar(context, "SELECT count(*) FROM management_keys") == 1
    assert await scalar(context, "SELECT password_hash FROM users") is None


async def test_an_empty_store_has_no_actor(tmp_path: Path) -> None:
    context = await Context.open(Settings(data_dir=tmp_path / "data"), create=True)
    with pytest.raises(NotFoundError, match="holds no org yet"):
        await bootstrap.local_actor(context)
    await context.close()


@pytest.mark.parametrize("create", [True, False], ids=str)
async def test_a_missing_secret_is_never_made_anew(create: bool, context: Context) -> None:
    for path in (context.settings.pepper_path, audit_key_path(context.settings)):
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(ConfigurationError, match="is missing; restore it"):
            await Context.open(context.settings, create=create)
        assert not path.exists()
        path.write_bytes(content)
        path.chmod(0o600)


@pytest.mark.parametrize(
    "text", [f"1 {OTHER}\n", f"9 {OTHER}\n", f"2 {'cd' * 32}\n1 {OTHER}\n"], ids=lambda t: t[:1]
)
async def test_a_wrong_pepper_is_noticed(text: str, context: Context) -> None:
    context.settings.pepper_path.write_text(text)
    with pytest.raises(ConfigurationError, match="restore the file") as caught:
        await Context.open(context.settings)
    assert OTHER[:8] not in str(caught.value)
    async with context.store.read() as connection:
        with pytest.raises(ConfigurationError, match="restore the file"):
            await check_peppers(connection, context.settings)


async def test_a_wrong_audit_key_is_noticed(context: Context) -> None:
    audit_key_path(context.settings).write_text(OTHER)
    with pytest.raises(ConfigurationError, match=r"pepper\.audit does not belong"):
        await Context.open(context.settings)


async def test_rotation_on_the_record(context: Context, owner: Actor) -> None:
    old = await keys.create(context, owner, keys.NewKey(name="old"))
    assert await peppers.rotate(context, owner) == [2, 1]
    again = await Context.open(context.settings)
    await keys.create(again, owner, keys.NewKey(name="new"))
    assert await scalars(context, "SELECT pepper_id FROM keys ORDER BY version") == [1, 2]
    with pytest.raises(RefusedError, match="1 active keys are under the old pepper"):
        await peppers.retire(again, owner)
    await keys.revoke(again, owner, old.view.id)
    assert await peppers.retire(again, owner) == [2]
    await again.close()
    await (await Context.open(context.settings)).close()
    events = await scalars(
        context, "SELECT action FROM audit WHERE action LIKE 'pepper%' ORDER BY seq"
    )
    assert events == ["pepper.rotated", "pepper.retired"]
