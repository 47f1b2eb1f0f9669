"""Set up an empty store in one transaction: org, Default team, owner, prices, and first keys."""

from typing import Final

import msgspec
from sqlalchemy import delete, insert, select

from nemorouter import ids
from nemorouter.errors import ConflictError, NotFoundError
from nemorouter.roles import Actor, Role
from nemorouter.services.access import management
from nemorouter.services.budgets import prices
from nemorouter.services.fields import values
from nemorouter.services.fields.views import ScopeView
from nemorouter.services.scopes import keys
from nemorouter.services.scopes.limits import NewScope
from nemorouter.services.scopes.scope import taken
from nemorouter.services.scopes.teams import insert_team
from nemorouter.services.scopes.users import NewMember, insert_member
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.lookup import DEFAULT_TEAM, text_id
from nemorouter.services.transaction.unit import UnitOfWork, change
from nemorouter.settings import Settings
from nemorouter.store.engine import Store
from nemorouter.store.schema import meta, orgs, teams
from nemorouter.types import Kind

_UNSHOWN: Final = "first_key_unshown"


class FirstRun(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what the first run made. The keys are returned once, here."""

    org_id: str
    team_id: str
    user_id: str
    api_key: str | None = None
    management_key: str | None = None

    def __repr__(self) -> str:
        return f"FirstRun({self.org_id})"


async def bootstrap(store: Store, settings: Settings) -> FirstRun | None:
    """Fill an empty store, so that ``serve`` has something to serve; None if it has an org already.

    Makes the peppers too. The owner has no password: who controls the machine gives one later.
    """
    context = await Context.attach(store, settings, create=True)
    try:
        return await init(
            context, org="Default", email="owner@localhost", password_hash=None, api_key="first key"
        )
    except ConflictError:
        return None


async def unshown_key(store: Store) -> str | None:
    """Return the alias of a first key that was made and never shown; None if there is none.

    Only its hash is kept, so that nobody can use it.
    """
    async with store.read() as connection:
        found = await connection.execute(select(meta.c.value).where(meta.c.key == _UNSHOWN))
        alias: str | None = found.scalar()
    return alias


async def note_shown(store: Store) -> None:
    """Note that the first key was shown, or that it was said how to get another."""
    async with store.begin() as connection:
        await connection.execute(delete(meta).where(meta.c.key == _UNSHOWN))


async def init(
    context: Context, *, org: str, email: str, password_hash: str | None, api_key: str | None = None
) -> FirstRun:
    """Make the org of an empty store. ConflictError: there is one.

    ``api_key`` is the name of a first API key.
    """
    org_id = ids.new_id()
    actor = Actor(org=org_id, role=Role.OWNER, name="setup", operator=True)
    async with change(context, actor, "org.create") as unit:
        if (await unit.connection.execute(select(orgs.c.id).limit(1))).first() is not None:
            raise ConflictError("This store is set up already; its data directory holds an org.")
        team = await _insert_org(unit, org)
        member = NewMember(name=email.partition("@")[0], email=email, role="owner")
        user = await insert_member(unit, member, password_hash)
        await prices.write_prices(unit, prices.builtin_prices(), replace=False)
        first = await keys.insert_key(unit, keys.NewKey(name=api_key)) if api_key else None
        if first is not None:
            await unit.connection.execute(insert(meta).values(key=_UNSHOWN, value=first.view.alias))
        new = management.NewManagementKey(name="first key")
        managing = (
            None
            if api_key
            else await management.insert_key(unit, new, ids.from_text("user", user.id))
        )
    return FirstRun(
        org_id=text_id(Kind.ORG, org_id),
        team_id=team.id,
        user_id=user.id,
        api_key=first.key if first else None,
        management_key=managing.key if managing else None,
    )


async def local_actor(context: Context, name: str = "cli") -> Actor:
    """Act for who sits at the machine: an owner of the first org, and an operator.

    NotFoundError: the store is empty.
    """
    async with context.store.read() as connection:
        query = (
            select(orgs.c.id).join(teams, teams.c.org_id == orgs.c.id).order_by(orgs.c.id).limit(1)
        )
        org = (await connection.execute(query)).scalar()
    if org is None:
        raise NotFoundError(
            "The store holds no org yet; run `nemorouter init` or `nemorouter serve` first."
        )
    return Actor(org=org, role=Role.OWNER, name=name, operator=True)


async def add_org(context: Context, name: str) -> int:
    """Another org with its team ``Default``, and nobody in it yet."""
    org_id = ids.new_id()
    actor = Actor(org=org_id, role=Role.OWNER, name="cli", operator=True)
    async with change(context, actor, "org.create") as unit:
        await _insert_org(unit, name)
    return org_id


async def _insert_org(unit: UnitOfWork, name: str) -> ScopeView:
    """Org and team ``Default``; answers the team."""
    row = {"id": unit.actor.org, "name": values.name(name, "org"), "created_ms": unit.now_ms}
    with taken(Kind.ORG):
        await unit.connection.execute(insert(orgs).values(**row))
    await unit.bump_version(Kind.ORG, unit.actor.org)
    await unit.record("org.created", text_id(Kind.ORG, unit.actor.org), None, {"name": row["name"]})
    return await insert_team(unit, NewScope(name=DEFAULT_TEAM))
