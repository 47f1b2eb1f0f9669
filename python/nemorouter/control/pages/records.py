"""Pages of the records: the request log and the audit log, with filters, pages and CSV."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import date, timedelta
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from litestar import Response, get
from litestar.params import FromPath
from litestar.response import Stream

from nemorouter.control.api import csv_text
from nemorouter.control.pages import diff, forms
from nemorouter.control.pages.frame import AnyRequest, open_frame
from nemorouter.errors import RefusedError
from nemorouter.roles import require
from nemorouter.services.fields.page import Page
from nemorouter.services.reports import audit, logs
from nemorouter.types import Outcome

PAGE: Final = 50
_LOG_FILTERS: Final = ("key", "team", "model", "outcome", "since", "until")
_AUDIT_FILTERS: Final = ("actor", "action", "resource", "since", "until")


@get("/{org:str}/logs")
async def show_logs(request: AnyRequest, org: FromPath[str]) -> Response[str]:
    """Show the request log, newest first."""
    frame = await open_frame(request, org, "Logs")
    require(frame.actor, "log.read")
    asked = _asked(request, _LOG_FILTERS)
    cursor = request.query_params.get("cursor")
    form = forms.filled(asked)
    status = 200
    found = Page[logs.LogRow](data=[])
    try:
        where = logs.LogFilter(**_whole_days(asked))
        found = await logs.logs(frame.context, frame.actor, where, limit=PAGE, cursor=cursor)
    except RefusedError as error:
        form = _refused(form, error)
        status = forms.status(error)
    return frame.page(
        "logs.html",
        status=status,
        rows=found.data,
        outcomes=[
            ("", "All"),
            *((one.name.lower(), one.name.replace("_", " ").capitalize()) for one in Outcome),
        ],
        csv=f"{frame.path}/logs.csv?{urlencode(_given(asked))}",
        **_around(f"{frame.path}/logs", asked, cursor, found.next_cursor, form),
    )


@get("/{org:str}/audit")
async def show_audit(request: AnyRequest, org: FromPath[str]) -> Response[str]:
    """Events, newest first, with what changed field by field."""
    frame = await open_frame(request, org, "Audit")
    require(frame.actor, "audit.read")
    asked = _asked(request, _AUDIT_FILTERS)
    cursor = request.query_params.get("cursor")
    form = forms.filled(asked)
    status = 200
    found = Page[audit.AuditView](data=[])
    try:
        where = audit.AuditFilter(**_whole_days(asked))
        found = await audit.list_audit(frame.context, frame.actor, where, limit=PAGE, cursor=cursor)
    except RefusedError as error:
        form = _refused(form, error)
        status = forms.status(error)
    return frame.page(
        "audit.html",
        status=status,
        events=[(event, diff.fields(event.before, event.after)) for event in found.data],
        csv=f"{frame.path}/audit.csv?{urlencode(_given(asked))}",
        **_around(f"{frame.path}/audit", asked, cursor, found.next_cursor, form),
    )


@get("/{org:str}/logs.csv")
async def logs_csv(request: AnyRequest, org: FromPath[str]) -> Stream:
    """All rows that the filters let through."""
    frame = await open_frame(request, org, "Logs")
    where = logs.LogFilter(**_whole_days(_asked(request, _LOG_FILTERS)))
    return await _csv(
        "requests",
        logs.LogRow,
        lambda cursor: logs.logs(frame.context, frame.actor, where, limit=1000, cursor=cursor),
    )


@get("/{org:str}/audit.csv")
async def audit_csv(request: AnyRequest, org: FromPath[str]) -> Stream:
    """All events that the filters let through."""
    frame = await open_frame(request, org, "Audit")
    where = audit.AuditFilter(**_whole_days(_asked(request, _AUDIT_FILTERS)))
    return await _csv(
        "audit",
        audit.AuditView,
        lambda cursor: audit.list_audit(
            frame.context, frame.actor, where, limit=1000, cursor=cursor
        ),
    )


async def _csv(
    name: str, kind: type[msgspec.Struct], read: Callable[[str | None], Awaitable[Page[Any]]]
) -> Stream:
    """Stream page after page as one CSV file.

    The first page is read before anything is sent, so that a bad filter gets its error.
    """
    first = await read(None)

    async def chunks() -> AsyncIterator[bytes]:
        yield csv_text.head(kind)
        page = first
        while True:
            yield csv_text.lines(page.data)
            if page.next_cursor is None:
                return
            page = await read(page.next_cursor)

    headers = {"content-disposition": f'attachment; filename="{name}.csv"'}
    return Stream(chunks(), media_type="text/csv; charset=utf-8", headers=headers)


def _asked(request: AnyRequest, names: tuple[str, ...]) -> dict[str, str]:
    return {name: request.query_params.get(name, "").strip()[:300] for name in names}


def _given(asked: dict[str, str]) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if value}


def _whole_days(asked: dict[str, str]) -> dict[str, Any]:
    """Return the filters as services take them.

    A page's "Until" names the last day; the services' ``until`` is the instant after it.
    """
    given = _given(asked)
    with suppress(KeyError, ValueError, OverflowError):  # what is no day, the service refuses
        given["until"] = (date.fromisoformat(given["until"]) + timedelta(days=1)).isoformat()
    return given


def _refused(form: forms.Form, error: RefusedError) -> forms.Form:
    """Copy the form with the reason beside the filter at fault."""
    field = error.field or ""
    if field in form.values:
        return form._replace(errors={field: forms.spoken(error)})
    return form._replace(problem=forms.spoken(error))


def _around(
    path: str, asked: dict[str, str], cursor: str | None, after: str | None, form: forms.Form
) -> dict[str, Any]:
    """Return filters and page links as the template shows them."""
    query = _given(asked)
    return {
        "form": form,
        "problem": form.problem,
        "filtered": bool(query),
        "next": f"{path}?{urlencode({**query, 'cursor': after})}" if after else None,
        "first": f"{path}?{urlencode(query)}" if cursor else None,
    }


HANDLERS: Final = [show_logs, logs_csv, show_audit, audit_csv]
