"""Read the request log, newest first, with filters and a cursor. It holds no prompt or answer."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Row, Select, and_, not_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter import ids
from nemorouter.errors import RefusedError
from nemorouter.roles import Actor, Visibility, require
from nemorouter.services.fields.page import MAX_LIMIT, Page, checked, cursor_numbers, page
from nemorouter.services.fields.values import ENDPOINTS, usd_text
from nemorouter.services.fields.views import alias
from nemorouter.services.transaction.clock import iso
from nemorouter.services.transaction.context import Context
from nemorouter.services.transaction.lookup import find, text_id
from nemorouter.store.schema import keys, requests
from nemorouter.types import Endpoint, Kind, Outcome

_LOOKED_AT: Final = 20_000
_NEWEST: Final = (requests.c.at_ms.desc(), requests.c.journal_id.desc(), requests.c.seq.desc())
_ENDPOINT_NAMES: Final = {
    int(endpoint): name if endpoint == Endpoint.OTHER else f"/v1/{name}"
    for name, endpoint in ENDPOINTS.items()
}


class LogRow(msgspec.Struct, frozen=True, kw_only=True):
    """One admitted request. ``cost`` None: the model had no price."""

    request_id: str
    at: str | None
    key_id: str
    key_name: str
    alias: str
    team_id: str
    user_id: str | None
    model: str
    upstream: str
    endpoint: str
    status: int
    outcome: str
    stream: bool
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost: str | None
    latency_ms: float
    ttft_ms: float | None


class LogFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A choice of rows of the request log.

    ``key`` and ``team`` by id or name; ``since`` (included) and ``until`` (not) as RFC 3339 times
    or days.
    """

    key: str | None = None
    team: str | None = None
    model: str | None = None
    outcome: str | None = None
    status: int | None = None
    since: str | None = None
    until: str | None = None


async def logs(
    context: Context,
    actor: Actor,
    where: LogFilter | None = None,
    *,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[LogRow]:
    """Return a page of the request log, newest first.

    With a filter that no index holds, a page looks at 20,000 rows at most: it may hold fewer rows
    than asked for, or none, and still have a ``next_cursor``.
    """
    checked(limit)
    async with context.store.read() as connection:
        indexed, others = await _conditions(connection, actor, where or LogFilter())
        if cursor is not None:
            indexed.append(_behind(*cursor_numbers(cursor, 3)))
        floor = await _floor(connection, indexed) if others else None
        if floor is not None:
            others += [
                requests.c.at_ms >= floor.at_ms,
                not_(_behind(floor.at_ms, floor.journal_id, floor.seq)),
            ]
        query = _select(indexed, others).order_by(*_NEWEST).limit(limit + 1)
        rows, after = page(list((await connection.execute(query)).all()), limit)
    last = after or floor
    cursor = f"{last.at_ms}.{last.journal_id}.{last.seq}" if last is not None else None
    return Page(data=[_view(row) for row in rows], next_cursor=cursor)


async def ended_since(
    context: Context, actor: Actor, where: LogFilter, ended_ms: int
) -> list[LogRow]:
    """List the requests that ended after ``ended_ms``, in the order of their ends.

    A request lasts at most as long as the upstream time-out.
    """
    table = requests.c
    earliest = ended_ms - int(context.settings.upstream_total_timeout * 1000) - 60_000
    ended = table.at_ms + table.latency_us / 1000
    async with context.store.read() as connection:
        query = _select(*await _conditions(connection, actor, where))
        query = (
            query.where(table.at_ms > earliest, ended > ended_ms).order_by(ended).limit(MAX_LIMIT)
        )
        return [_view(row) for row in await connection.execute(query)]


def _select(*conditions: list[ColumnElement[bool]]) -> Select[Any]:
    every = [one for some in conditions for one in some]
    return (
        select(requests, keys.c.name.label("key_name"), keys.c.last4)
        .join(keys, keys.c.id == requests.c.key_id, isouter=True)
        .where(*every)
    )


def _behind(at: int, journal_id: int, seq: int) -> ColumnElement[bool]:
    """Select the rows that come after a row, newest first.

    The first condition lets the index find the place.
    """
    table = requests.c
    earlier = and_(
        table.at_ms == at,
        or_(table.journal_id < journal_id, and_(table.journal_id == journal_id, table.seq < seq)),
    )
    return and_(table.at_ms <= at, or_(table.at_ms < at, earlier))


async def _floor(connection: AsyncConnection, indexed: list[ColumnElement[bool]]) -> Any:  # noqa: ANN401 - three numbers
    """Return the last row that a page with other conditions looks at; None if there are fewer.

    It is found in the index alone.
    """
    table = requests.c
    place = select(table.at_ms, table.journal_id, table.seq).where(*indexed).order_by(*_NEWEST)
    return (await connection.execute(place.offset(_LOOKED_AT - 1).limit(1))).first()


async def _conditions(
    connection: AsyncConnection, actor: Actor, where: LogFilter
) -> tuple[list[ColumnElement[bool]], list[ColumnElement[bool]]]:
    """Split the conditions on rows that the actor may see and asks for.

    The first list is held by an index, the second only by the rows.
    """
    visibility = require(actor, "log.read")
    table = requests.c
    indexed: list[ColumnElement[bool]] = [table.org_id == actor.org]
    others: list[ColumnElement[bool]] = []
    if visibility is Visibility.OWN:
        others.append(table.user_id == actor.user)
    if (
        where.key is not None
    ):  # a key of the actor's org: without the org, so that the planner takes the key's index
        indexed = [
            table.key_id == (await find(connection, actor, Kind.KEY, where.key, visibility)).id
        ]
    if where.since is not None:
        indexed.append(table.at_ms >= instant(where.since, "since"))
    if where.until is not None:
        indexed.append(table.at_ms < instant(where.until, "until"))
    if where.team is not None:
        others.append(table.team_id == (await find(connection, actor, Kind.TEAM, where.team)).id)
    if where.model is not None:
        others.append(table.model == where.model)
    if where.status is not None:
        others.append(table.status == where.status)
    if where.outcome is not None:
        others.append(table.outcome == _outcome(where.outcome))
    return indexed, others


def _outcome(text: str) -> int:
    try:
        return int(Outcome[text.upper()])
    except KeyError:
        names = ", ".join(one.name.lower() for one in Outcome)
        raise RefusedError(f"outcome must be one of {names}.", field="outcome") from None


def instant(text: str, field: str) -> int:
    try:
        at = datetime.fromisoformat(text)
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise RefusedError(f"{field} must be a day or an RFC 3339 time.", field=field) from None


def _view(row: Row[Any]) -> LogRow:
    return LogRow(
        request_id=ids.request_text(row.journal_id, row.seq),
        at=iso(row.at_ms),
        key_id=text_id(Kind.KEY, row.key_id),
        key_name=row.key_name or "",
        alias=alias(row.last4 or ""),
        team_id=text_id(Kind.TEAM, row.team_id),
        user_id=text_id(Kind.USER, row.user_id) if row.user_id else None,
        model=row.model,
        upstream=row.upstream,
        endpoint=_ENDPOINT_NAMES.get(row.endpoint, ""),
        status=row.status,
        outcome=Outcome(row.outcome).name.lower(),
        stream=bool(row.stream),
        input_tokens=row.input_tokens,
        cached_tokens=row.cached_tokens,
        output_tokens=row.output_tokens,
        cost=None if row.cost_nano is None else usd_text(row.cost_nano),
        latency_ms=row.latency_us / 1000,
        ttft_ms=None if row.ttft_us is None else row.ttft_us / 1000,
    )
