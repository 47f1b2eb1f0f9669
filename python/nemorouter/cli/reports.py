"""``nemorouter usage`` and ``nemorouter logs``."""

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from nemorouter.cli.output import note, print_json, print_line, print_table
from nemorouter.cli.run import DEFAULTS, Common, with_store

if TYPE_CHECKING:
    from nemorouter.roles import Actor
    from nemorouter.services.reports.logs import LogFilter, LogRow
    from nemorouter.services.transaction.context import Context

_PAUSE_S: Final = 0.5
_LOG_COLUMNS: Final = (
    "AT",
    "KEY",
    "ALIAS",
    "MODEL",
    "STATUS",
    "OUTCOME",
    "INPUT",
    "OUTPUT",
    "COST",
    "MS",
    "REQUEST",
)


def usage(
    *,
    since: str | None = None,
    until: str | None = None,
    by: str = "key",
    common: Common = DEFAULTS,
) -> None:
    """Show requests, tokens and cost by day (UTC).

    Parameters
    ----------
    since
        First day, such as 2026-11-01 (default: 30 days ago).
    until
        Last day (default: today).
    by
        key, team, user or model.
    """
    from nemorouter.services.reports.usage import usage as report

    rows = with_store(
        common, lambda context, actor: report(context, actor, since=since, until=until, group_by=by)
    )
    if common.json:
        print_json({"data": rows})
        return
    print_table(
        ("DAY", by.upper(), "REQUESTS", "INPUT", "CACHED", "OUTPUT", "COST", "UNPRICED"),
        (
            (
                row.day,
                row.name or row.group,
                row.requests,
                row.input_tokens,
                row.cached_tokens,
                row.output_tokens,
                row.cost,
                row.unknown_cost,
            )
            for row in rows
        ),
    )


def logs(
    *,
    key: str | None = None,
    team: str | None = None,
    model: str | None = None,
    outcome: str | None = None,
    status: int | None = None,
    since: str | None = None,
    until: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
    follow: Annotated[bool, Parameter(negative="")] = False,
    common: Common = DEFAULTS,
) -> None:
    """Show the request log, newest first.

    Parameters
    ----------
    key
        Only this key (id or name).
    team
        Only this team (id or name).
    model
        Only this model.
    outcome
        Only ok, upstream_error, client_gone, timeout or recovered.
    status
        Only this HTTP status.
    since
        From this day or time on (included).
    until
        Up to this day or time (not included).
    limit
        At most so many, up to 1000.
    cursor
        Where the page before ended.
    follow
        Print requests as they end, oldest first, until interrupted; with --json one object a line.
    """
    from nemorouter.services.reports import logs as service

    where = service.LogFilter(
        key=key, team=team, model=model, outcome=outcome, status=status, since=since, until=until
    )
    if follow:
        with_store(common, lambda context, actor: _follow(context, actor, where, common))
        return
    page = with_store(
        common,
        lambda context, actor: service.logs(context, actor, where, limit=limit, cursor=cursor),
    )
    if common.json:
        print_json(page)
        return
    print_table(_LOG_COLUMNS, map(_log_cells, page.data))
    if page.next_cursor:
        note(f"More: --cursor {page.next_cursor}")


def _log_cells(row: "LogRow") -> tuple[object, ...]:
    """Return the cells of ``row``, one for each of ``_LOG_COLUMNS``."""
    return (
        row.at,
        row.key_name,
        row.alias,
        row.model,
        row.status,
        row.outcome,
        row.input_tokens,
        row.output_tokens,
        row.cost,
        round(row.latency_ms),
        row.request_id,
    )


async def _follow(context: "Context", actor: "Actor", where: "LogFilter", common: Common) -> None:
    from nemorouter.services.reports.logs import ended_since
    from nemorouter.services.transaction.clock import now_ms

    seen: dict[str, int] = {}
    while True:
        at = now_ms()
        for row in await ended_since(context, actor, where, at - 3000):
            if row.request_id not in seen:
                _print_row(row, common)
            seen[row.request_id] = at
        seen = {id: last for id, last in seen.items() if last > at - 10_000}
        sys.stdout.flush()
        await asyncio.sleep(_PAUSE_S)


def _print_row(row: "LogRow", common: Common) -> None:
    if common.json:
        import msgspec

        print(msgspec.json.encode(row).decode())
        return
    print_line(
        f"{row.at} {row.key_name} {row.alias} {row.model} {row.status} {row.outcome} "
        f"{row.input_tokens}+{row.output_tokens} {row.cost or '-'} {row.latency_ms:.0f}ms "
        f"{row.request_id}"
    )
