"""An org's home: spend, requests, refusals, who spends most, which budgets are near their cap."""

from datetime import UTC, datetime
from typing import Final

from litestar import Response, get
from litestar.params import FromPath

from nemorouter.control.pages import series
from nemorouter.control.pages.frame import AnyRequest, open_frame
from nemorouter.services.budgets import budgets
from nemorouter.services.reports import overview

_MOST: Final = 6


@get("/{org:str}")
async def home(request: AnyRequest, org: FromPath[str]) -> Response[str]:
    """Show the overview."""
    frame = await open_frame(request, org, "Home")
    context = frame.context
    actor = frame.actor
    days = await overview.daily(context, actor, days=31)
    today = datetime.now(UTC).date()
    first = series.last_days()[0]
    shown = [row for row in days if row.day >= first]
    refused = await overview.refused(context, actor)
    return frame.page(
        "home.html",
        today=series.of_days(days, today.isoformat()),
        month=series.of_days(days, today.replace(day=1).isoformat()),
        month_name=f"{today:%B}",
        refused=sum(row.count for row in refused),
        refusals=refused[:3],
        spend_chart=series.spend(shown, "spend"),
        request_chart=series.requests(shown, "requests"),
        models=series.by_model(shown)[:_MOST],
        keys=await overview.top_keys(context, actor),
        teams=await overview.top_teams(context, actor),
        near=await budgets.near_cap(context, actor, _MOST),
    )


HANDLERS: Final = [home]
