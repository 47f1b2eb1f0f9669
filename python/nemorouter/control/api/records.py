"""``/logs`` and ``/audit``: filters, cursors, and the same as CSV."""

from typing import Annotated, Final

import msgspec

from nemorouter.control.api.call import Call, Route, given
from nemorouter.services.fields.page import Page
from nemorouter.services.reports import audit, logs
from nemorouter.services.transaction.chain import Verdict


class LogQuery(logs.LogFilter, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The filters of the log, and a page of it."""

    status: Annotated[int, msgspec.Meta(ge=0, le=999)] | None = None

    limit: int = 100
    cursor: str | None = None


class AuditQuery(audit.AuditFilter, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The filters of the audit log, and a page of it."""

    limit: int = 100
    cursor: str | None = None


async def list_logs(call: Call) -> Page[logs.LogRow]:
    where = logs.LogFilter(**given(call.query, "limit", "cursor"))
    return await logs.logs(
        call.context, call.actor, where, limit=call.query.limit, cursor=call.query.cursor
    )


async def list_audit(call: Call) -> Page[audit.AuditView]:
    where = audit.AuditFilter(**given(call.query, "limit", "cursor"))
    return await audit.list_audit(
        call.context, call.actor, where, limit=call.query.limit, cursor=call.query.cursor
    )


async def verify(call: Call) -> Verdict:
    return await audit.verify_audit(call.context, call.actor)


ROUTES: Final = (
    Route(
        method="GET",
        path="/logs",
        about="The request log, newest first",
        work=list_logs,
        query=LogQuery,
        answer=Page[logs.LogRow],
        rows=logs.LogRow,
    ),
    Route(
        method="GET",
        path="/audit",
        about="The audit log, newest first",
        work=list_audit,
        query=AuditQuery,
        answer=Page[audit.AuditView],
        rows=audit.AuditView,
    ),
    Route(
        method="GET",
        path="/audit/verify",
        about="Look for edits of the audit log",
        work=verify,
        answer=Verdict,
    ),
)
