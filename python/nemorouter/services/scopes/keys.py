"""Create, duplicate, list, show, change and revoke API keys.

The full key is returned once, when it is made.
"""

import json
import secrets
import string
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import ColumnElement, Row, func, insert, select, update

from nemorouter import ids
from nemorouter.datadir.secrets import hash_key
from nemorouter.errors import ConflictError, ForbiddenError, RefusedError
from nemorouter.roles import Actor, Visibility, require
from nemorouter.services.budgets import budgets
from nemorouter.services.fields import values
from nemorouter.services.fields.page import Page, checked, cursor_id, page
from nemorouter.services.fields.views import KeyView, view, views
from nemorouter.services.scopes.limits import NewScope, ScopePatch, columns
from nemorouter.services.scopes.tightening import require_tighter
from nemorouter.services.transaction.clock import now_ms
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.lookup import DEFAULT_TEAM, find, text_id
from nemorouter.services.transaction.unit import UnitOfWork, change
from nemorouter.store.schema import keys
from nemorouter.types import RATE_FIELDS, Kind, Status

_PREFIX: Final = "sk-nemo-"
KEYS_A_PERSON: Final = 1_000
"""Keys that a member may make for themselves, revoked ones included."""
_ALPHABET: Final = string.ascii_letters + string.digits
_LENGTH: Final = 20
_LAST: Final = 4


class NewKey(NewScope, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of a new key: ``team`` and ``user`` by id or name.

    No team: the org's ``Default``. Empty lists: all that the team may use.
    """

    team: str | None = None
    user: str | None = None
    allowed_endpoints: tuple[str, ...] = ()
    allowed_ips: tuple[str, ...] = ()
    expires_at: str | None = None


class KeyPatch(ScopePatch, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes to a key; a field that is UNSET stays.

    A key's team and person never change, for its spend is theirs.
    """

    allowed_endpoints: tuple[str, ...] | UnsetType = UNSET
    allowed_ips: tuple[str, ...] | UnsetType = UNSET
    expires_at: str | UnsetType | None = UNSET


class IssuedKey(msgspec.Struct, frozen=True):
    """The one time that the full key is told."""

    key: str
    view: KeyView

    def __repr__(self) -> str:
        return f"CreatedKey({self.view.alias})"


async def create(context: Context, actor: Actor, new: NewKey) -> IssuedKey:
    """Make a key; it works when this returns."""
    async with change(context, actor, "key.create") as unit:
        return await insert_key(unit, new)


async def insert_key(unit: UnitOfWork, new: NewKey) -> IssuedKey:
    """Insert a key within an open transaction."""
    named = DEFAULT_TEAM if new.team is None else new.team
    team = await find(unit.connection, unit.actor, Kind.TEAM, named)
    if unit.visibility is Visibility.OWN and team.name != DEFAULT_TEAM:
        raise ForbiddenError(
            f"A member creates keys in the team {DEFAULT_TEAM}. Ask an admin for one in another.",
            field="team",
        )
    user = await _owner(unit, new.user)
    row = columns(new) | _own_columns(new, unit.now_ms) | {"team_id": team.id, "user_id": user}
    return await _insert(unit, row, new.budget)


async def duplicate(
    context: Context, actor: Actor, reference: str, name: str | None = None
) -> IssuedKey:
    """Make a key with the policy of another key: the first step of a rotation.

    The other key stays as it is.
    """
    async with change(context, actor, "key.create") as unit:
        old = await find(unit.connection, actor, Kind.KEY, reference, unit.visibility)
        taken = (
            "team_id",
            "user_id",
            *RATE_FIELDS,
            "allowed_models",
            "allowed_endpoints",
            "allowed_ips",
            "expires_ms",
        )
        row = {column: getattr(old, column) for column in taken}
        row["name"] = values.name(
            f"{old.name[: values.MAX_NAME - 7]} (copy)" if name is None else name
        )
        if old.expires_ms is not None and old.expires_ms <= unit.now_ms:
            raise ConflictError(
                "The key has expired, and its copy would have too; create a new one.",
                field="expires_at",
            )
        return await _insert(unit, row, await budgets.current_budget(unit, Kind.KEY, old.id))


async def show(context: Context, actor: Actor, reference: str) -> KeyView:
    """One key, without its secret."""
    visibility = require(actor, "key.read")
    async with context.store.read() as connection:
        row = await find(connection, actor, Kind.KEY, reference, visibility)
        found: KeyView = await view(connection, Kind.KEY, row.id, now_ms())
        return found


async def list_keys(
    context: Context,
    actor: Actor,
    *,
    team: str | None = None,
    status: str | None = None,
    q: str | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[KeyView]:
    """List the org's keys, newest first.

    ``q`` is a part of the name, or the last four characters.
    """
    visibility = require(actor, "key.read")
    query = select(keys.c.id).where(keys.c.org_id == actor.org).order_by(keys.c.id.desc())
    if visibility is Visibility.OWN:
        query = query.where(keys.c.user_id == actor.user)
    if status is not None:
        query = query.where(keys.c.status == int(_status(status)))
    if cursor is not None:
        query = query.where(keys.c.id < cursor_id("key", cursor))
    async with context.store.read() as connection:
        if team is not None:
            query = query.where(
                keys.c.team_id == (await find(connection, actor, Kind.TEAM, team)).id
            )
        if q:
            query = query.where(_matches(q, connection.dialect.name))
        some = query.limit(
            checked(limit) + 1
        )  # ids alone, so that an index answers however many are looked at
        whole = select(keys).where(keys.c.id.in_(some)).order_by(keys.c.id.desc())
        rows, after = page(list((await connection.execute(whole)).all()), limit)
        found = await views(connection, Kind.KEY, rows, now_ms())
    return Page(data=found, next_cursor=text_id(Kind.KEY, after.id) if after else None)


async def patch(context: Context, actor: Actor, reference: str, given: KeyPatch) -> KeyView:
    """Change what was given; applied at the next request. A revoked key cannot be changed.

    ForbiddenError: a member would loosen what binds the key.
    """
    async with change(context, actor, "key.update") as unit:
        old = await find(unit.connection, actor, Kind.KEY, reference, unit.visibility)
        if old.status == Status.REVOKED:
            raise ConflictError("A revoked key cannot be changed.", field="status")
        before: KeyView = await view(unit.connection, Kind.KEY, old.id, unit.now_ms)
        row = columns(given) | _own_columns(given, unit.now_ms)
        if unit.visibility is Visibility.OWN:
            budget = await budgets.current_budget(unit, Kind.KEY, old.id)
            require_tighter(old, row, budget, given.budget)
        if row:
            await unit.connection.execute(update(keys).where(keys.c.id == old.id).values(**row))
        await budgets.patch_budget(unit, Kind.KEY, old.id, given.budget)
        await unit.bump_version(Kind.KEY, old.id)
        after: KeyView = await view(unit.connection, Kind.KEY, old.id, unit.now_ms)
        await unit.record("key.updated", text_id(Kind.KEY, old.id), before, after)
        return after


async def revoke(context: Context, actor: Actor, reference: str) -> KeyView:
    """Revoke a key for ever. A second call changes nothing.

    No request that starts after this returned is admitted.
    """
    async with change(context, actor, "key.revoke") as unit:
        old = await find(unit.connection, actor, Kind.KEY, reference, unit.visibility)
        if old.status != Status.REVOKED:
            ended = {"status": int(Status.REVOKED), "revoked_ms": unit.now_ms}
            await unit.connection.execute(update(keys).where(keys.c.id == old.id).values(**ended))
            await unit.bump_version(Kind.KEY, old.id)
            before = {"status": Status(old.status).name.lower()}
            await unit.record(
                "key.revoked", text_id(Kind.KEY, old.id), before, {"status": "revoked"}
            )
        else:
            unit.changed = (
                True  # the first time may have failed to reach the server: try that part again
            )
        found: KeyView = await view(unit.connection, Kind.KEY, old.id, unit.now_ms)
        return found


async def _require_own_place(unit: UnitOfWork) -> None:
    """Raise a ConflictError if a member has made as many keys as one person may."""
    if unit.visibility is not Visibility.OWN:
        return
    query = select(func.count()).where(keys.c.user_id == unit.actor.user)
    if (await unit.connection.execute(query)).scalar_one() >= KEYS_A_PERSON:
        raise ConflictError(
            f"You have made {KEYS_A_PERSON:,} keys, the most that a member may. "
            "Ask an admin for others."
        )


async def _insert(
    unit: UnitOfWork, row: dict[str, Any], budget: budgets.NewBudget | None
) -> IssuedKey:
    await _require_own_place(unit)
    pepper_id, pepper = unit.context.peppers[0]
    secret = _PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    row |= {
        "id": ids.new_id(),
        "org_id": unit.actor.org,
        "digest": hash_key(secret, pepper),
        "pepper_id": pepper_id,
        "last4": secret[-_LAST:],
        "created_by": unit.actor.name,
        "created_ms": unit.now_ms,
    }
    await unit.connection.execute(insert(keys).values(**row))
    if budget is not None:
        await budgets.write_budget(unit, Kind.KEY, row["id"], budget)
    await unit.bump_version(Kind.KEY, row["id"])
    found: KeyView = await view(unit.connection, Kind.KEY, row["id"], unit.now_ms)
    await unit.record("key.created", found.id, None, found)
    return IssuedKey(secret, found)


async def _owner(unit: UnitOfWork, reference: str | None) -> int | None:
    """Return the id of the user a key belongs to; a member's keys are the member's own."""
    if unit.visibility is Visibility.OWN:
        named = text_id(Kind.USER, unit.actor.user) if reference is None else reference
        own: Row[Any] = await find(unit.connection, unit.actor, Kind.USER, named)
        if own.id != unit.actor.user:
            raise RefusedError("A member creates keys for themselves only.", field="user")
        return int(own.id)
    if reference is None:
        return None
    return int((await find(unit.connection, unit.actor, Kind.USER, reference)).id)


def _own_columns(given: NewKey | KeyPatch, at_ms: int) -> dict[str, Any]:
    """Return the columns that only keys have."""
    row: dict[str, Any] = {}
    if given.allowed_endpoints is not UNSET:
        row["allowed_endpoints"] = values.endpoints(given.allowed_endpoints)
    if given.allowed_ips is not UNSET:
        row["allowed_ips"] = json.dumps(values.networks(given.allowed_ips))
    if given.expires_at is not UNSET:
        row["expires_ms"] = (
            None if given.expires_at is None else values.expiry(given.expires_at, at_ms)
        )
    return row


def _matches(q: str, dialect: str) -> ColumnElement[bool]:
    """Part of the name, in small or capital letters; or the last four characters."""
    likes = (
        keys.c.name.contains if dialect == "sqlite" else keys.c.name.icontains
    )  # SQLite's LIKE folds by itself
    named = likes(q, autoescape=True)
    return named | (keys.c.last4 == q) if len(q) == _LAST else named


def _status(text: str) -> Status:
    try:
        return Status[text.upper()]
    except KeyError:
        raise RefusedError("status must be active, disabled or revoked.", field="status") from None
