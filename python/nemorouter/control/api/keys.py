"""``/keys``: the JSON of keys, exactly as the contract has it."""

from typing import Any, Final

import msgspec

from nemorouter.control.api.call import Call, Empty, Paging, Route, given
from nemorouter.errors import ConflictError
from nemorouter.services.fields.page import Page
from nemorouter.services.fields.rates import LIMIT_FIELDS, add_rates
from nemorouter.services.fields.views import BudgetView, KeyView
from nemorouter.services.scopes import keys


@add_rates(int | None, after="status", names=LIMIT_FIELDS)
class Key(msgspec.Struct, frozen=True, kw_only=True):
    """An API key without its secret.

    ``null`` limits are unlimited; empty lists allow all that the team may use.
    """

    id: str
    name: str
    alias: str
    team_id: str
    user_id: str | None
    status: str
    budget: BudgetView | None
    spend: str
    allowed_models: list[str]
    allowed_endpoints: list[str]
    allowed_ips: list[str]
    expires_at: str | None
    created_at: str | None
    last_used_at: str | None
    revoked_at: str | None


class CreatedKey(Key, frozen=True, kw_only=True):
    """``key`` is the full key, told this once; ``null`` when an ``Idempotency-Key`` is replayed."""

    key: str | None


class NewKeyBody(keys.NewKey, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of a new key.

    ``team`` and ``user`` are ids or names, ``team_id`` and ``user_id`` are ids: at most one of each
    pair.
    """

    team_id: str | None = None
    user_id: str | None = None


class Duplicate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``name`` of the copy; default: the old name and "(copy)"."""

    name: str | None = None


class KeyFilter(Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``q``: a part of the name, or the last four characters."""

    team: str | None = None
    status: str | None = None
    q: str | None = None


def shown(view: KeyView) -> Key:
    """Convert a view into the contract's fields."""
    return Key(**_fields(view))


def _fields(view: KeyView) -> dict[str, Any]:
    return {name: getattr(view, name) for name in Key.__struct_fields__}


async def create(call: Call) -> CreatedKey:
    fields = msgspec.structs.asdict(call.body)
    for one in ("team", "user"):
        by_id = fields.pop(f"{one}_id")
        if by_id is not None and fields[one] is not None:
            raise ConflictError(f"Give {one} or {one}_id, not both.", field=one)
        fields[one] = fields[one] if by_id is None else by_id
    created = await keys.create(call.context, call.actor, keys.NewKey(**fields))
    return CreatedKey(**_fields(created.view), key=created.key)


async def list_keys(call: Call) -> Page[Key]:
    page = await keys.list_keys(call.context, call.actor, **given(call.query))
    return Page(data=[shown(view) for view in page.data], next_cursor=page.next_cursor)


async def show(call: Call) -> Key:
    return shown(await keys.show(call.context, call.actor, call.id))


async def patch(call: Call) -> Key:
    return shown(await keys.patch(call.context, call.actor, call.id, call.body))


async def revoke(call: Call) -> Key:
    return shown(await keys.revoke(call.context, call.actor, call.id))


async def duplicate(call: Call) -> CreatedKey:
    created = await keys.duplicate(call.context, call.actor, call.id, call.body.name)
    return CreatedKey(**_fields(created.view), key=created.key)


ROUTES: Final = (
    Route(
        method="GET",
        path="/keys",
        about="List keys, newest first",
        work=list_keys,
        query=KeyFilter,
        answer=Page[Key],
    ),
    Route(
        method="POST",
        path="/keys",
        about="Create a key; the answer tells it once",
        work=create,
        body=NewKeyBody,
        answer=CreatedKey,
        status=201,
    ),
    Route(method="GET", path="/keys/{id}", about="Show a key", work=show, answer=Key),
    Route(
        method="PATCH",
        path="/keys/{id}",
        about="Change a key",
        work=patch,
        body=keys.KeyPatch,
        answer=Key,
    ),
    Route(
        method="DELETE", path="/keys/{id}", about="Revoke a key for ever", work=revoke, answer=Key
    ),
    Route(
        method="POST",
        path="/keys/{id}/revoke",
        about="Revoke a key for ever",
        work=revoke,
        body=Empty,
        answer=Key,
    ),
    Route(
        method="POST",
        path="/keys/{id}/duplicate",
        about="A new key with the policy of this one",
        work=duplicate,
        body=Duplicate,
        answer=CreatedKey,
        status=201,
    ),
)
