"""Places in the arena: how many the installation has, and how many of them one org may take.

Each org, team, person and key takes one for ever, also when it is revoked or removed, and more
while its name and lists are long. The bound is checked before a change is committed, so that
nobody can fill the arena for everybody.
"""

import json
from typing import Final

from sqlalchemy import case, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter.errors import ConflictError
from nemorouter.services.transaction.lookup import TABLES
from nemorouter.settings import Settings
from nemorouter.store.schema import orgs
from nemorouter.types import Kind

_WORDS: Final = 8
"""Words of eight bytes in the arena's heap for each place of its capacity."""


def places_of(name: str, models: list[str], ips: list[str]) -> int:
    """Return the places that a scope takes: one for each 64 bytes of its block, at least one.

    The block is the native one: a word that counts, the name, for each model its length and its
    name without the ``*`` of a prefix, and three words for each block of addresses.
    """
    words = 1 + _words(name) + sum(1 + _words(model.removesuffix("*")) for model in models)
    return -(-(words + 3 * len(ips)) // _WORDS)


async def take_places(
    connection: AsyncConnection, settings: Settings, kind: Kind, scope_id: int
) -> None:
    """Bring what is counted for a scope up to its row, which was just written.

    ConflictError: the installation, or the org's share of it, has no room for what the scope takes
    more. A scope that takes no more than before is never refused.
    """
    table = TABLES[kind]
    row = (await connection.execute(select(table).where(table.c.id == scope_id))).one()
    ips = row.allowed_ips if kind is Kind.KEY else "[]"
    needed = places_of(row.name, json.loads(row.allowed_models), json.loads(ips))
    more = needed - row.places
    if more == 0:
        return
    org = scope_id if kind is Kind.ORG else row.org_id
    if more > 0:
        await _require_room(connection, settings, org, more)
    await connection.execute(update(table).where(table.c.id == scope_id).values(places=needed))
    await connection.execute(
        update(orgs).where(orgs.c.id == org).values(places_taken=orgs.c.places_taken + more)
    )


async def _require_room(
    connection: AsyncConnection, settings: Settings, org: int, more: int
) -> None:
    mine = func.sum(case((orgs.c.id == org, orgs.c.places_taken), else_=0))
    query = select(func.coalesce(func.sum(orgs.c.places_taken), 0), mine, func.count())
    total, own, count = (await connection.execute(query)).one()
    if total + more > settings.capacity:
        raise ConflictError(
            f"This installation has room for {settings.capacity:,} keys, teams, people and orgs, "
            f"of which {total:,} are taken; this takes {more:,} more. "
            "Its operator can raise capacity."
        )
    share = settings.org_capacity or settings.capacity // min(count, 2)
    if own + more > share:
        raise ConflictError(
            f"The org's share of this installation is room for {share:,} keys, teams and people, "
            f"of which {own:,} are taken; this takes {more:,} more. "
            "Its operator can raise org_capacity."
        )


def _words(text: str) -> int:
    return -(-len(text.encode()) // 8)
