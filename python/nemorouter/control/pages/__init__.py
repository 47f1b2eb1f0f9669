"""Render the dashboard: HTML pages, a face of the services without rules of its own."""

from typing import Any

from litestar import Response

from nemorouter.control.pages import (
    budgets,
    entry,
    home,
    hosts,
    keys,
    operators,
    people,
    records,
    settings,
    teams,
)
from nemorouter.control.pages.render import page
from nemorouter.control.problems import ErrorBody

_HEADINGS = {
    403: "Not allowed",
    404: "Not found",
    429: "Too many attempts",
    500: "Something went wrong here",
    503: "Not ready",
}


def routes() -> list[Any]:
    """Every handler of the pages; each stands in ``policy.ROUTES``."""
    return [
        handler
        for module in (
            *(entry, home, keys, budgets, teams, people, records, hosts, settings),
            operators,
        )
        for handler in module.HANDLERS
    ]


def problem(found: ErrorBody) -> Response[Any]:
    """Render the page of an error."""
    heading = _HEADINGS.get(found.status, "That did not work")
    return page(
        "problem.html",
        status=found.status,
        code=found.status,
        heading=heading,
        message=found.message,
    )
