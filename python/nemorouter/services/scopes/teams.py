"""Create and list teams."""

from functools import partial

from nemorouter import ids
from nemorouter.roles import Actor, require
from nemorouter.services.fields.page import Page, every
from nemorouter.services.fields.views import ScopeView
from nemorouter.services.scopes.limits import NewScope, columns
from nemorouter.services.scopes.scope import insert_scope, page_scopes
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.unit import UnitOfWork, change
from nemorouter.store.schema import teams
from nemorouter.types import Kind


async def create_team(context: Context, actor: Actor, new: NewScope) -> ScopeView:
    """Create a team; its name is unique within the org."""
    async with change(context, actor, "team.create") as unit:
        return await insert_team(unit, new)


async def insert_team(unit: UnitOfWork, new: NewScope) -> ScopeView:
    """Insert a team within an open transaction."""
    row = columns(new) | {"id": ids.new_id(), "org_id": unit.actor.org, "created_ms": unit.now_ms}
    found: ScopeView = await insert_scope(unit, Kind.TEAM, row, new.budget, "team.created")
    return found


async def page_teams(
    context: Context, actor: Actor, *, limit: int = 100, cursor: str | None = None
) -> Page[ScopeView]:
    """Return a page of the org's teams, by name."""
    require(actor, "team.read")
    found: Page[ScopeView] = await page_scopes(
        context, Kind.TEAM, actor, teams.c.name, limit, cursor
    )
    return found


async def list_teams(context: Context, actor: Actor) -> list[ScopeView]:
    """Return all teams of the org, by name."""
    return await every(partial(page_teams, context, actor))
