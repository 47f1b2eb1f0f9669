"""Find the four kinds of scope: table, text id, and look-up by id or name within an org."""

from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Table, exists, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter import ids
from nemorouter.errors import ConflictError, NotFoundError
from nemorouter.roles import Actor, Role, Visibility
from nemorouter.store.schema import keys, memberships, orgs, teams, users
from nemorouter.types import Kind, Status

TABLES: Final[dict[Kind, Table]] = {
    Kind.ORG: orgs,
    Kind.TEAM: teams,
    Kind.USER: users,
    Kind.KEY: keys,
}
DEFAULT_TEAM: Final = "Default"


def text_id(kind: Kind, id: int) -> str:
    """``key_...``, ``team_...``, ``user_...``, ``org_...``."""
    return ids.to_text(kind.name.lower(), id)


def is_operator() -> ColumnElement[bool]:
    """Select the rows of ``users`` whose user is an operator of the installation."""
    first = orgs.alias()
    place = memberships.alias()
    owns_first = exists().where(
        place.c.user_id == users.c.id,
        place.c.role == int(Role.OWNER),
        place.c.org_id == select(func.min(first.c.id)).scalar_subquery(),
    )
    return (users.c.operator == 1) | (users.c.operator.is_(None) & owns_first)


async def find(
    connection: AsyncConnection,
    actor: Actor,
    kind: Kind,
    reference: str,
    visibility: Visibility = Visibility.ALL,
) -> Row[Any]:
    """Return the row that ``reference`` names by id or name, among those the actor may see.

    A user is named by e-mail. NotFoundError: none. ConflictError: several have the name.
    """
    table = TABLES[kind]
    query = select(table).where((table.c.id if kind is Kind.ORG else table.c.org_id) == actor.org)
    if kind is Kind.USER:
        query = query.where(users.c.status != int(Status.REVOKED))  # removed from the org
    if visibility is Visibility.OWN and kind is Kind.KEY:
        query = query.where(table.c.user_id == actor.user)
    try:
        query = query.where(table.c.id == ids.from_text(kind.name.lower(), reference))
    except ValueError:
        query = query.where((table.c.email if kind is Kind.USER else table.c.name) == reference)
    rows = (await connection.execute(query.limit(50))).all()
    if len(rows) > 1:  # a name that lives on in revoked keys still means the live one
        rows = [row for row in rows if row.status == Status.ACTIVE] or rows
    if not rows:
        raise NotFoundError(
            f"There is no {kind.name.lower()} {reference!r}.", field=kind.name.lower()
        )
    if len(rows) > 1:
        named = ", ".join(text_id(kind, row.id) for row in rows[:5])
        raise ConflictError(
            f"Several bear the name {reference!r}: {named}. Use the id.", field=kind.name.lower()
        )
    return rows[0]
