"""``/budgets``, ``/prices`` and ``/usage``."""

from typing import Final

import msgspec

from nemorouter import ids
from nemorouter.control.api.call import Call, Paging, Route, given
from nemorouter.errors import NotFoundError
from nemorouter.services.budgets import budgets, prices
from nemorouter.services.fields.page import Page
from nemorouter.services.reports import usage
from nemorouter.types import Kind


class UsageFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Days ``since`` … ``until``, both included; default: the last 30 days, of hours the last 2."""

    since: str | None = None
    until: str | None = None
    group_by: str = "key"
    interval: str = "day"
    key: str | None = None
    team: str | None = None


class UsageSeries(msgspec.Struct, frozen=True, kw_only=True):
    """Oldest first."""

    data: list[usage.UsageRow]


async def list_budgets(call: Call) -> Page[budgets.ScopeBudget]:
    return await budgets.page_all(
        call.context, call.actor, limit=call.query.limit, cursor=call.query.cursor
    )


async def put_budget(call: Call) -> budgets.ScopeBudget:
    return await budgets.set_budget(call.context, call.actor, _kind(call.id), call.id, call.body)


async def delete_budget(call: Call) -> None:
    await budgets.clear_budget(call.context, call.actor, _kind(call.id), call.id)


async def list_prices(call: Call) -> Page[prices.Price]:
    return await prices.page_prices(
        call.context, call.actor, limit=call.query.limit, cursor=call.query.cursor
    )


async def put_price(call: Call) -> prices.Price:
    return await prices.set_price(call.context, call.actor, call.body)


async def delete_price(call: Call) -> None:
    await prices.delete_price(call.context, call.actor, call.id)


async def series(call: Call) -> UsageSeries:
    return UsageSeries(data=await usage.usage(call.context, call.actor, **given(call.query)))


def _kind(reference: str) -> Kind:
    """Return the kind of the scope whose budget the id names.

    NotFoundError: the text is no id.
    """
    for kind in Kind:
        try:
            ids.from_text(kind.name.lower(), reference)
        except ValueError:
            continue
        return kind
    raise NotFoundError(f"There is no key, team, person or org {reference!r}.")


ROUTES: Final = (
    Route(
        method="GET",
        path="/budgets",
        about="List budgets with what is spent of them",
        work=list_budgets,
        query=Paging,
        answer=Page[budgets.ScopeBudget],
    ),
    Route(
        method="PUT",
        path="/budgets/{id}",
        about="Give a key, team, person or the org this budget",
        work=put_budget,
        body=budgets.NewBudget,
        answer=budgets.ScopeBudget,
    ),
    Route(
        method="DELETE",
        path="/budgets/{id}",
        about="Take the budget away",
        work=delete_budget,
        answer=None,
        status=204,
    ),
    Route(
        method="GET",
        path="/usage",
        about="Usage by day or hour",
        work=series,
        query=UsageFilter,
        answer=UsageSeries,
    ),
    Route(
        method="GET",
        path="/prices",
        about="List prices",
        work=list_prices,
        query=Paging,
        answer=Page[prices.Price],
    ),
    Route(
        method="PUT",
        path="/prices",
        about="Set the price of a model",
        work=put_price,
        body=prices.Price,
        answer=prices.Price,
    ),
    Route(
        method="DELETE",
        path="/prices/{model}",
        about="Delete the price of a model",
        work=delete_price,
        answer=None,
        status=204,
    ),
)
