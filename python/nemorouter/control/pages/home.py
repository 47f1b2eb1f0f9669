"""An org's home: spend, requests, refusals, who spends most, which budgets are near their cap."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from litestar import Response, get

from nemorouter.control.pages import series, words
from nemorouter.control.pages.frame import AnyRequest, open_frame
from nemorouter.services import budgets, overview
from nemorouter.services.budgets import ScopeBudget

NEAR: Final = 50
"""From how many per cent of its cap a budget stands on the home page."""
_MOST: Final = 6


@get("/{org:str}")
async def home(request: AnyRequest, org: str) -> Response[str]:
    """The overview."""
    frame = await open_frame(request, org, "Home")
    context, actor = frame.context, frame.actor
    days = await overview.daily(context, actor, days=31)
    today = datetime.now(UTC).date()
    shown = [row for row in days if row.day >= series.last_days()[0]]
    refused = await overview.refused(context, actor)
    near = near_cap(await budgets.list_budgets(context, actor))
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
        near=near[:_MOST],
        more_near=max(0, len(near) - _MOST),
    )


def near_cap(found: list[ScopeBudget]) -> list[ScopeBudget]:
    """Budgets of which at least half is spent, the fullest first."""
    shares = [(words.percent(one.budget.spent, one.budget.max_spend), one) for one in found]
    near = [pair for pair in shares if pair[0] >= NEAR]
    near.sort(key=lambda pair: (-pair[0], -Decimal(pair[1].budget.spent)))
    return [one for _, one in near]


HANDLERS: Final = [home]
