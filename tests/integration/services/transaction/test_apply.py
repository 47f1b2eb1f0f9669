"""A committed change is in force when the service returns, or the service says that it is not."""

from pathlib import Path

import pytest

from nemorouter._core import Gate
from nemorouter.arena import attach
from nemorouter.datadir.secrets import load_peppers
from nemorouter.errors import Code, StoreError
from nemorouter.roles import Actor
from nemorouter.services.operations import bootstrap
from nemorouter.services.scopes import keys
from nemorouter.services.transaction.context import Context
from nemorouter.settings import Settings
from tests.support.installation import end_serving
from tests.support.sql import sql


async def gate_of(context: Context) -> Gate:
    """Make the gate of a worker of this host."""
    arena = await attach.attach(context.settings, context.store)
    journal = await attach.new_journal(context.settings, ["echo"])
    return Gate(arena, journal, load_peppers(context.settings.pepper_path))


async def test_a_key_lives_and_dies_at_once(context: Context, owner: Actor) -> None:
    gate = await gate_of(context)
    try:
        created = await keys.create(
            context, owner, keys.NewKey(name="k", allowed_endpoints=("embeddings",))
        )
        header = f"Bearer {created.key}"
        assert gate.identify(header, "127.0.0.1", 3) >= 0
        assert gate.identify(header, "127.0.0.1", 0) == -Code.ENDPOINT_NOT_ALLOWED
        await keys.patch(context, owner, "k", keys.KeyPatch(allowed_endpoints=()))
        assert gate.identify(header, "127.0.0.1", 0) >= 0
        await keys.revoke(context, owner, "k")
        assert gate.identify(header, "127.0.0.1", 3) == -Code.KEY_REVOKED
    finally:
        end_serving(context.settings)


async def test_what_cannot_be_applied_is_said(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", capacity=16, journal_slots=16)
    context = await Context.open(settings, create=True)
    await bootstrap.init(context, org="Acme", email="a@b.c", password_hash=None)
    owner = await bootstrap.local_actor(context)
    await gate_of(context)

    for n in range(13):
        await keys.create(context, owner, keys.NewKey(name=f"k{n}"))
    async with context.store.begin() as connection:
        await sql(connection, "UPDATE orgs SET places_taken = 0")  # another process did not count
    try:
        with pytest.raises(StoreError, match=r"key_[0-9a-z]* is set aside, for the arena holds 16"):
            await keys.create(context, owner, keys.NewKey(name="one more"))
        await keys.revoke(context, owner, "k3")
    finally:
        end_serving(settings)
        await context.close()


async def test_a_revocation_that_did_not_arrive_is_tried_again(
    context: Context, owner: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = await gate_of(context)
    try:
        created = await keys.create(context, owner, keys.NewKey(name="k"))

        async def unreachable(*_: object) -> None:
            raise OSError("no")

        monkeypatch.setattr(attach, "catch_up_if_live", unreachable)
        with pytest.raises(StoreError, match="stays queued"):
            await keys.revoke(context, owner, "k")
        monkeypatch.undo()
        assert gate.identify(f"Bearer {created.key}", "127.0.0.1", 0) >= 0
        await keys.revoke(context, owner, "k")
        assert gate.identify(f"Bearer {created.key}", "127.0.0.1", 0) == -Code.KEY_REVOKED
    finally:
        end_serving(context.settings)
