"""Operators: the people who may change what belongs to the whole installation.

Where nobody decided about a person, the owners of the first org are operators, so that an
installation of one org needs no marks. The command line on a host always acts as an operator, so
that nobody can lock everybody out.
"""

from typing import Any

import msgspec
from sqlalchemy import Row, select, update

from nemorouter import ids
from nemorouter.errors import NotFoundError
from nemorouter.roles import Actor, require
from nemorouter.services.fields import values
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.lookup import is_operator, text_id
from nemorouter.services.transaction.unit import UnitOfWork, change
from nemorouter.store.schema import orgs, users
from nemorouter.types import Kind, Status


class OperatorView(msgspec.Struct, frozen=True, kw_only=True):
    """A person who is an operator. ``by_role``: as an owner of the first org, without a mark."""

    id: str
    email: str
    name: str
    org_id: str
    org_name: str
    by_role: bool


class NewOperator(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Name a person of any org by e-mail address."""

    email: str


async def list_operators(context: Context, actor: Actor) -> list[OperatorView]:
    """List the operators of the installation, by e-mail address."""
    require(actor, "operator.read")
    query = _people().where(is_operator()).order_by(users.c.email).limit(1000)
    async with context.store.read() as connection:
        return [_view(row) for row in await connection.execute(query)]


async def add_operator(context: Context, actor: Actor, new: NewOperator) -> OperatorView:
    """Make a person an operator. NotFoundError: no active person has this address."""
    async with change(context, actor, "operator.set") as unit:
        row = await _find(unit, users.c.email == values.email(new.email))
        return await _mark(unit, row, marked=True)


async def remove_operator(context: Context, actor: Actor, reference: str) -> None:
    """Make a person no operator, by id or e-mail address. Their role in their org stays.

    NotFoundError: they are none.
    """
    async with change(context, actor, "operator.set") as unit:
        try:
            which = users.c.id == ids.from_text("user", reference)
        except ValueError:
            which = users.c.email == reference.strip().lower()
        await _mark(unit, await _find(unit, which & is_operator()), marked=False)


async def _find(unit: UnitOfWork, which: Any) -> Row[Any]:  # noqa: ANN401 - a condition
    row = (await unit.connection.execute(_people().where(which))).first()
    if row is None:
        raise NotFoundError("There is no such person.", field="email")
    return row


async def _mark(unit: UnitOfWork, row: Row[Any], *, marked: bool) -> OperatorView:
    """Write the mark; the person's org sees the event."""
    await unit.connection.execute(
        update(users).where(users.c.id == row.id).values(operator=int(marked))
    )
    found = _view((await unit.connection.execute(_people().where(users.c.id == row.id))).one())
    action = "operator.added" if marked else "operator.removed"
    await unit.record(action, found.id, None, {"email": found.email}, org=row.org_id)
    return found


def _people() -> Any:  # noqa: ANN401 - a query
    """Select the people who may sign in, with their orgs."""
    columns = (users.c.id, users.c.email, users.c.name, users.c.operator, users.c.org_id)
    return (
        select(*columns, orgs.c.name.label("org_name"))
        .join(orgs, orgs.c.id == users.c.org_id)
        .where(users.c.status == int(Status.ACTIVE), orgs.c.status != int(Status.REVOKED))
    )


def _view(row: Row[Any]) -> OperatorView:
    return OperatorView(
        id=text_id(Kind.USER, row.id),
        email=row.email,
        name=row.name,
        org_id=text_id(Kind.ORG, row.org_id),
        org_name=row.org_name,
        by_role=row.operator is None,
    )
