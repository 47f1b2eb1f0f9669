"""Test services of several hosts at once on one PostgreSQL.

There is one change sequence and one audit chain, without a gap.
"""

import asyncio
import shutil
from pathlib import Path

import pytest

from nemorouter.errors import ConflictError
from nemorouter.services.access import invitations
from nemorouter.services.operations.bootstrap import init, local_actor
from nemorouter.services.scopes import keys
from nemorouter.services.transaction import chain
from nemorouter.services.transaction.context import Context
from nemorouter.settings import Settings
from nemorouter.store.policies import change_seq, changes_since
from tests.support.postgres_server import PostgresServer

HOSTS = 3
EACH = 12


@pytest.fixture
async def contexts(postgres: PostgresServer, tmp_path: Path) -> list[Context]:
    """Hosts with data directories of their own that share secrets and store."""
    url = postgres.database()
    first = await Context.open(Settings(data_dir=tmp_path / "host0", database_url=url), create=True)
    await init(first, org="Acme", email="owner@acme.test", password_hash=None)
    made = [first]
    for number in range(1, HOSTS):
        folder = tmp_path / f"host{number}"
        folder.mkdir(mode=0o700)
        for secret in ("pepper", "pepper.audit"):
            shutil.copy(tmp_path / "host0" / secret, folder / secret)
        made.append(await Context.open(Settings(data_dir=folder, database_url=url), create=True))
    return made


async def test_changes_have_one_order_and_the_chain_has_no_fork(contexts: list[Context]) -> None:
    seen: list[int] = []
    over = asyncio.Event()

    async def follow() -> None:
        """Require that no change is seen before one with a smaller number.

        Catching up would miss it.
        """
        while not over.is_set():
            async with contexts[0].store.read() as connection:
                fresh = await changes_since(connection, seen[-1] if seen else 0)
            seen.extend(change.seq for change in fresh)
            await asyncio.sleep(0)

    async def work(context: Context, number: int) -> None:
        owner = await local_actor(context)
        for count in range(EACH):
            made = await keys.create(context, owner, keys.NewKey(name=f"{number}.{count}"))
            await keys.revoke(context, owner, made.view.id)
            guest = invitations.NewInvitation(email=f"{number}.{count}@acme.test", role="member")
            await invitations.create(context, owner, guest)  # an event, and no change of a policy

    following = asyncio.create_task(follow())
    await asyncio.gather(*(work(context, number) for number, context in enumerate(contexts)))
    async with contexts[0].store.read() as connection:
        newest = await change_seq(connection)
        verdict = await chain.verify(connection, contexts[-1].audit_key)
    while not seen or seen[-1] < newest:
        await asyncio.sleep(0.01)
    over.set()
    await following
    assert seen == list(range(1, newest + 1))
    assert newest >= HOSTS * EACH * 2
    assert verdict.broken_at is None
    assert verdict.events >= HOSTS * EACH * 3
    for context in contexts:
        await context.close()


async def test_of_two_first_runs_one_sets_up(postgres: PostgresServer, tmp_path: Path) -> None:
    url = postgres.database()
    first = await Context.open(Settings(data_dir=tmp_path / "data", database_url=url), create=True)
    second = await Context.open(Settings(data_dir=tmp_path / "data", database_url=url))

    async def run(context: Context) -> bool:
        try:
            await init(context, org="Acme", email="owner@acme.test", password_hash=None)
        except ConflictError:
            return False
        return True

    assert sorted(await asyncio.gather(run(first), run(second))) == [False, True]
    await first.close()
    await second.close()
