"""The audit log, for those who may read it: its events, and whether anybody edited it."""

import json
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Row, Select, select

from nemorouter.roles import Actor, require
from nemorouter.services.fields.page import Page, checked, cursor_numbers, page
from nemorouter.services.reports.logs import instant
from nemorouter.services.transaction.chain import Verdict, read_anchor, verify
from nemorouter.services.transaction.clock import iso
from nemorouter.services.transaction.context import Context
from nemorouter.store.schema import INSTALLATION, audit

OPERATOR: Final = "operator"
"""Actor of an event of the installation, as it is shown to who is no operator."""


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
    """A choice of audit events.

    ``action``: whole, or the part before its dot. ``since`` (included), ``until`` (not): RFC 3339
    times or days.
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
    """List the events of the org and those of the whole installation, newest first.

    Who did something to the installation, and from where, is shown to operators alone.
    """
    require(actor, "audit.read")
    asked = where or AuditFilter()
    before = None if cursor is None else cursor_numbers(cursor, 1)[0]
    most = checked(limit) + 1
    own = _events(audit.c.org_id == actor.org, asked, before, most)
    shared = _events(audit.c.org_id == INSTALLATION, _masked(actor, asked), before, most)
    async with context.store.read() as connection:
        found = [*(await connection.execute(own)).all()]
        if actor.operator or asked.actor in (None, OPERATOR):
            found += (await connection.execute(shared)).all()
    found.sort(key=lambda row: -row.seq)
    rows, after = page(found[:most], limit)
    return Page(
        data=[_view(row, actor) for row in rows], next_cursor=str(after.seq) if after else None
    )


def _masked(actor: Actor, where: AuditFilter) -> AuditFilter:
    """Adapt a filter to events of the installation, whose actors only operators know by name."""
    return where if actor.operator else msgspec.structs.replace(where, actor=None)


def _events(
    whose: ColumnElement[bool], where: AuditFilter, before: int | None, most: int
) -> Select[Any]:
    query = select(audit).where(whose).order_by(audit.c.seq.desc()).limit(most)
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
    return query if before is None else query.where(audit.c.seq < before)


async def verify_audit(context: Context, actor: Actor) -> Verdict:
    """Check the whole chain, of all orgs: edits, deletions, insertions, a new order, a cut tail."""
    require(actor, "audit.verify")
    anchor = read_anchor(
        context.settings.data_dir
    )  # before the view of the store begins, which may be newer
    async with context.store.read() as connection:
        return await verify(connection, context.audit_key, anchor)


def _view(row: Row[Any], reader: Actor) -> AuditView:
    hidden = row.org_id == INSTALLATION and not reader.operator
    return AuditView(
        seq=row.seq,
        at=iso(row.at_ms),
        actor=OPERATOR if hidden else row.actor,
        source_ip="" if hidden else row.source_ip,
        action=row.action,
        resource=row.resource,
        before=None if row.before is None else json.loads(row.before),
        after=None if row.after is None else json.loads(row.after),
    )
