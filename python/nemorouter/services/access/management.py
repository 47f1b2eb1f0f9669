"""Manage the keys of the management API: ``mk-nemo-`` and 32 characters.

A management key acts for its user.
"""

import secrets
import string
from typing import Any, Final

import msgspec
from sqlalchemy import Row, insert, select, update

from nemorouter import ids
from nemorouter.datadir.secrets import hash_key
from nemorouter.errors import ForbiddenError, NotFoundError
from nemorouter.roles import Actor, Role, require
from nemorouter.services.fields import values
from nemorouter.services.transaction.clock import iso
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.lookup import find, text_id
from nemorouter.services.transaction.unit import UnitOfWork, change
from nemorouter.store.schema import management_keys, memberships
from nemorouter.types import Kind, Status

_ALPHABET: Final = string.ascii_letters + string.digits


class NewManagementKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of a new management key. The key may do what its person may do.

    That person is the caller, or at the machine itself an owner of the org. ``operator``: also what
    its person may do as an operator, which is the default for an operator.
    """

    name: str
    operator: bool | None = None


class ManagementKeyView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    alias: str
    user_id: str
    status: str
    operator: bool
    created_at: str | None
    last_used_at: str | None
    revoked_at: str | None


class IssuedManagementKey(msgspec.Struct, frozen=True):
    """The one time that the full key is told."""

    key: str
    view: ManagementKeyView

    def __repr__(self) -> str:
        return f"CreatedManagementKey({self.view.alias})"


async def create(context: Context, actor: Actor, new: NewManagementKey) -> IssuedManagementKey:
    """Make a management key for the actor; at the machine itself, for the oldest owner."""
    async with change(context, actor, "management_key.create") as unit:
        return await insert_key(unit, new, actor.user or await _first_owner(unit))


async def insert_key(unit: UnitOfWork, new: NewManagementKey, user: int) -> IssuedManagementKey:
    """Insert a management key within an open transaction."""
    operator = unit.actor.operator if new.operator is None else new.operator
    if operator and not unit.actor.operator:
        raise ForbiddenError("Only an operator makes keys of an operator.", field="operator")
    pepper_id, pepper = unit.context.peppers[0]
    secret = "mk-nemo-" + "".join(secrets.choice(_ALPHABET) for _ in range(32))
    row = {
        "id": ids.new_id(),
        "org_id": unit.actor.org,
        "user_id": user,
        "name": values.name(new.name),
        "digest": hash_key(secret, pepper),
        "pepper_id": pepper_id,
        "last4": secret[-4:],
        "created_ms": unit.now_ms,
        "operator": int(operator),
    }
    await unit.connection.execute(insert(management_keys).values(**row))
    query = select(management_keys).where(management_keys.c.id == row["id"])
    view = _view((await unit.connection.execute(query)).one())
    await unit.record("management_key.created", view.id, None, view)
    return IssuedManagementKey(secret, view)


async def list_management_keys(context: Context, actor: Actor) -> list[ManagementKeyView]:
    """List the org's management keys, newest first, without their secrets."""
    require(actor, "management_key.read")
    query = select(management_keys).where(management_keys.c.org_id == actor.org)
    async with context.store.read() as connection:
        rows = await connection.execute(query.order_by(management_keys.c.id.desc()).limit(1000))
        return [_view(row) for row in rows]


async def revoke(context: Context, actor: Actor, reference: str) -> ManagementKeyView:
    """End a management key for ever; a second time changes nothing."""
    async with change(context, actor, "management_key.revoke") as unit:
        try:
            id = ids.from_text("mk", reference)
        except ValueError:
            raise NotFoundError(f"There is no management key {reference!r}.") from None
        query = select(management_keys).where(
            management_keys.c.id == id, management_keys.c.org_id == actor.org
        )
        old = (await unit.connection.execute(query)).first()
        if old is None:
            raise NotFoundError(f"There is no management key {reference!r}.")
        if old.status != Status.REVOKED:
            ended = {"status": int(Status.REVOKED), "revoked_ms": unit.now_ms}
            await unit.connection.execute(
                update(management_keys).where(management_keys.c.id == id).values(**ended)
            )
            await unit.record("management_key.revoked", reference, _view(old))
        return _view((await unit.connection.execute(query)).one())


async def _first_owner(unit: UnitOfWork) -> int:
    query = select(memberships.c.user_id).where(
        memberships.c.org_id == unit.actor.org, memberships.c.role == int(Role.OWNER)
    )
    id = (
        await unit.connection.execute(query.order_by(memberships.c.user_id).limit(1))
    ).scalar_one()
    return int((await find(unit.connection, unit.actor, Kind.USER, text_id(Kind.USER, id))).id)


def _view(row: Row[Any]) -> ManagementKeyView:
    return ManagementKeyView(
        id=ids.to_text("mk", row.id),
        name=row.name,
        alias=f"mk-...{row.last4}",
        user_id=text_id(Kind.USER, row.user_id),
        status=Status(row.status).name.lower(),
        operator=bool(row.operator),
        created_at=iso(row.created_ms),
        last_used_at=iso(row.last_used_ms),
        revoked_at=iso(row.revoked_ms),
    )
