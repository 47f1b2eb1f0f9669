"""The audit log, for those who may read it: its events, and whether anybody edited it."""

import json
from typing import Any

import msgspec
from sqlalchemy import Row, select

from nemorouter.roles import Actor, require
from nemorouter.services.fields.page import Page, checked, cursor_numbers, page
from nemorouter.services.reports.logs import instant
from nemorouter.services.transaction.chain import Verdict, read_anchor, verify
from nemorouter.services.transaction.clock import iso
from nemorouter.services.transaction.context import Context
from nemorouter.store.schema import audit


class AuditView(msgspec.Struct, frozen=True, kw_only=True):
    """One event. ``before`` and ``after``: the fields of the resource, as they were and are."""

    seq: int
    at: str | None
    actor: str
    source_ip: str
    action: str
    resource: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``action``: whole, or the part before its dot. ``since`` (included), ``until`` (not): RFC
    3339 times or days.
    """

    actor: str | None = None
    action: str | None = None
    resource: str | None = None
    since: str | None = None
    until: str | None = None


async def list_audit(
    context: Context,
    actor: Actor,
    where: AuditFilter | None = None,
    *,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[AuditView]:
    """The org's events, newest first."""
    require(actor, "audit.read")
    where = where or AuditFilter()
    query = (
        select(audit)
        .where(audit.c.org_id == actor.org)
        .order_by(audit.c.seq.desc())
        .limit(checked(limit) + 1)
    )
    if where.actor is not None:
        query = query.where(audit.c.actor == where.actor)
    if where.action is not None:
        exact = audit.c.action == where.action
        query = query.where(exact | audit.c.action.startswith(f"{where.action}.", autoescape=True))
    if where.resource is not None:
        query = query.where(audit.c.resource == where.resource)
    if where.since is not None:
        query = query.where(audit.c.at_ms >= instant(where.since, "since"))
    if where.until is not None:
        query = query.where(audit.c.at_ms < instant(where.until, "until"))
    if cursor is not None:
        query = query.where(audit.c.seq < cursor_numbers(cursor, 1)[0])
    async with context.store.read() as connection:
        rows, after = page(list((await connection.execute(query)).all()), limit)
    return Page(data=[_view(row) for row in rows], next_cursor=str(after.seq) if after else None)


async def verify_audit(context: Context, actor: Actor) -> Verdict:
    """Check the whole chain: edits, deletions, insertions, a new order, a cut tail."""
    require(actor, "audit.read")
    anchor = read_anchor(
        context.settings.data_dir
    )  # before the view of the store begins, which may be newer
    async with context.store.read() as connection:
        return await verify(connection, context.audit_key, anchor)


def _view(row: Row[Any]) -> AuditView:
    return AuditView(
        seq=row.seq,
        at=iso(row.at_ms),
        actor=row.actor,
        source_ip=row.source_ip,
        action=row.action,
        resource=row.resource,
        before=None if row.before is None else json.loads(row.before),
        after=None if row.after is None else json.loads(row.after),
    )
