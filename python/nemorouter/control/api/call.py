"""Define a call of the API: a row of the table that makes handlers, OpenAPI document and tests."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from nemorouter.roles import Actor
from nemorouter.services.access.sessions import Signed
from nemorouter.services.transaction.context import Context


class Empty(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No body, or ``{}``."""


class Paging(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``limit`` rows from ``cursor``, which an answer gave as ``next_cursor``."""

    limit: int = 100
    cursor: str | None = None


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request, decoded and checked. ``who`` is None on public routes only.

    ``id`` is what the path names: an id, or a model.
    """

    context: Context
    who: Signed | None
    id: str
    body: Any
    query: Any
    headers: Mapping[str, str]

    @property
    def actor(self) -> Actor:
        return self.signed.actor

    @property
    def signed(self) -> Signed:
        assert self.who is not None  # noqa: S101 - the guard has seen to it
        return self.who


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """``answer`` None: 204 without a body. ``rows``: a page that can be had as CSV too."""

    method: str
    path: str
    about: str
    work: Callable[[Call], Awaitable[Any]]
    answer: Any
    body: Any = None
    query: Any = None
    status: int = 200
    rows: Any = None


def given(query: msgspec.Struct, *but: str) -> dict[str, Any]:
    """Return the fields of a query that were given."""
    return {name: value for name, value in msgspec.structs.asdict(query).items() if name not in but}
