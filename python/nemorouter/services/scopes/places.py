"""Places in the arena: how many the installation has, and how many of them one org may take.

Each org, team, person and key takes one for ever, also when it is revoked or removed. The bound is
checked before a row is written, so that nobody can fill the arena for everybody.
"""

from typing import Final

from sqlalchemy import case, func, select, update

from nemorouter.errors import ConflictError
from nemorouter.roles import Visibility
from nemorouter.services.transaction.unit import UnitOfWork
from nemorouter.store.schema import keys, orgs

KEYS_A_PERSON: Final = 1_000
"""Keys that a member may make for themselves, revoked ones included."""


async def take_place(unit: UnitOfWork) -> None:
    """Count one more scope of the actor's org. ConflictError: there is no place for it."""
    mine = func.sum(case((orgs.c.id == unit.actor.org, orgs.c.scopes), else_=0))
    query = select(func.coalesce(func.sum(orgs.c.scopes), 0), mine, func.count())
    total, own, count = (await unit.connection.execute(query)).one()
    settings = unit.context.settings
    if total >= settings.capacity:
        raise ConflictError(
            f"This installation holds {total:,} keys, teams, people and orgs, all it has room for. "
            "Its operator can raise capacity."
        )
    share = settings.org_capacity or settings.capacity // min(count, 2)
    if own >= share:
        raise ConflictError(
            f"The org holds {own:,} keys, teams and people, which is its share of this "
            "installation. "
            "Its operator can raise org_capacity."
        )
    place = orgs.c.id == unit.actor.org
    await unit.connection.execute(update(orgs).where(place).values(scopes=orgs.c.scopes + 1))


async def require_own_place(unit: UnitOfWork) -> None:
    """Raise a ConflictError if a member has made as many keys as one person may."""
    if unit.visibility is not Visibility.OWN:
        return
    query = select(func.count()).where(keys.c.user_id == unit.actor.user)
    if (await unit.connection.execute(query)).scalar_one() >= KEYS_A_PERSON:
        raise ConflictError(
            f"You have made {KEYS_A_PERSON:,} keys, the most that a member may. "
            "Ask an admin for others."
        )
