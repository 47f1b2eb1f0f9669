"""Make orgs at the machine itself, and end them by their owner.

Nothing of one org is seen in another.
"""

import re
import unicodedata

from sqlalchemy import delete, select, update

from nemorouter.roles import Actor, Role
from nemorouter.services.access import invitations
from nemorouter.services.fields.views import ScopeView, views
from nemorouter.services.operations import bootstrap
from nemorouter.services.transaction.clock import now_ms
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.lookup import text_id
from nemorouter.services.transaction.unit import change
from nemorouter.store.schema import management_keys, orgs, sessions
from nemorouter.types import Kind, Status


def slug(name: str) -> str:
    """Return the word for an org's name in addresses: ``acme-sohne`` for ``Acme & Söhne``."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "org"


async def create_org(
    context: Context, name: str, email: str
) -> tuple[ScopeView, invitations.IssuedInvitation]:
    """Create another org, with an invitation for its first owner.

    Only an operator at the machine may call it: no role includes it.
    """
    made = await bootstrap.add_org(context, name)
    actor = Actor(org=made, role=Role.OWNER, name="cli")
    created = await invitations.create(
        context, actor, invitations.NewInvitation(email=email, role="owner")
    )
    return (await list_orgs(context, only=made))[0], created


async def list_orgs(context: Context, *, only: int | None = None) -> list[ScopeView]:
    """All orgs of the installation. Only for who sits at the machine."""
    query = select(orgs).order_by(orgs.c.id)
    if only is not None:
        query = query.where(orgs.c.id == only)
    async with context.store.read() as connection:
        return await views(
            connection, Kind.ORG, list((await connection.execute(query)).all()), now_ms()
        )


async def delete_org(context: Context, actor: Actor) -> None:
    """End the org: its keys are refused at once, and its people sign in no more.

    Its records stay in the store.
    """
    async with change(context, actor, "org.delete") as unit:
        ended = {"status": int(Status.REVOKED)}
        await unit.connection.execute(update(orgs).where(orgs.c.id == actor.org).values(**ended))
        await unit.connection.execute(delete(sessions).where(sessions.c.org_id == actor.org))
        query = update(management_keys).where(
            management_keys.c.org_id == actor.org, management_keys.c.status == 1
        )
        await unit.connection.execute(query.values(**ended, revoked_ms=unit.now_ms))
        await unit.bump_version(Kind.ORG, actor.org)
        await unit.record("org.deleted", text_id(Kind.ORG, actor.org))
