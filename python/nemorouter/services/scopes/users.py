"""Add and list users, who are the members of an org."""

from functools import partial

from nemorouter import ids
from nemorouter.errors import RefusedError
from nemorouter.roles import Actor, Role, require
from nemorouter.services.fields import values
from nemorouter.services.fields.page import Page, every
from nemorouter.services.fields.views import UserView
from nemorouter.services.scopes.limits import NewScope, columns
from nemorouter.services.scopes.scope import insert_scope, page_scopes
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.unit import UnitOfWork, change
from nemorouter.store.schema import users
from nemorouter.types import Kind


class NewMember(NewScope, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of a new user of the org; ``role`` owner, admin, member or viewer."""

    email: str
    role: str = "member"


async def add_member(context: Context, actor: Actor, new: NewMember) -> UserView:
    """Add a user without a password; keys can belong to the user at once."""
    async with change(context, actor, "member.add") as unit:
        found: UserView = await insert_member(unit, new)
        return found


async def insert_member(
    unit: UnitOfWork, new: NewMember, password_hash: str | None = None
) -> UserView:
    """Insert a user and the membership within an open transaction."""
    role = parse_role(new.role)
    if role is Role.OWNER and unit.actor.role is not Role.OWNER:
        raise RefusedError("Only an owner makes owners.", field="role")
    row = columns(new) | {
        "id": ids.new_id(),
        "org_id": unit.actor.org,
        "email": values.email(new.email),
        "password_hash": password_hash,
        "created_ms": unit.now_ms,
    }
    found: UserView = await insert_scope(unit, Kind.USER, row, new.budget, "member.added", role)
    return found


async def page_members(
    context: Context, actor: Actor, *, limit: int = 100, cursor: str | None = None
) -> Page[UserView]:
    """Return a page of the org's users, by e-mail."""
    require(actor, "member.read")
    found: Page[UserView] = await page_scopes(
        context, Kind.USER, actor, users.c.email, limit, cursor
    )
    return found


async def list_members(context: Context, actor: Actor) -> list[UserView]:
    """Return all users of the org, by e-mail."""
    return await every(partial(page_members, context, actor))


def parse_role(text: str) -> Role:
    """Return the role of that name, in any case; RefusedError: there is none."""
    try:
        return Role[text.upper()]
    except KeyError:
        raise RefusedError("role must be owner, admin, member or viewer.", field="role") from None
