"""Sums by day and model, as the charts and tables of pages want them. Pure functions."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

from nemorouter.control.pages import charts
from nemorouter.services.overview import DAYS, Sums
from nemorouter.services.values import usd_text
from nemorouter.types import NANO


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of several days, of one model or all."""

    name: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost: str
    unknown_cost: int


def last_days(many: int = DAYS, now: datetime | None = None) -> list[str]:
    """The last ``many`` days of UTC, oldest first, today included."""
    today = (now or datetime.now(UTC)).date()
    return [(today - timedelta(days=back)).isoformat() for back in range(many - 1, -1, -1)]


def total(rows: Sequence[Sums], name: str = "") -> Total:
    """All of them together."""
    return Total(
        name=name,
        requests=sum(row.requests for row in rows),
        input_tokens=sum(row.input_tokens for row in rows),
        output_tokens=sum(row.output_tokens for row in rows),
        cost=usd_text(int(sum((Decimal(row.cost) for row in rows), Decimal(0)) * NANO)),
        unknown_cost=sum(row.unknown_cost for row in rows),
    )


def of_days(rows: Sequence[Sums], since: str) -> Total:
    """Those of the day ``since`` and after."""
    return total([row for row in rows if row.day >= since])


def by_model(rows: Sequence[Sums]) -> list[Total]:
    """By model, the dearest first."""
    models = sorted({row.model for row in rows})
    found = [total([row for row in rows if row.model == model], model) for model in models]
    return sorted(found, key=lambda one: (Decimal(one.cost), one.requests), reverse=True)


def spend(rows: Sequence[Sums], id: str, days: Sequence[str] | None = None) -> charts.Chart:
    """Spend by day, stacked by model."""
    return _by_model(rows, id, "Spend by day", lambda row: Decimal(row.cost), charts.money, days)


def requests(rows: Sequence[Sums], id: str, days: Sequence[str] | None = None) -> charts.Chart:
    """Requests by day."""
    days = days or last_days()
    values = [Decimal(sum(row.requests for row in rows if row.day == day)) for day in days]
    return charts.bars(id, "Requests by day", days, [charts.Series("Requests", values)])


def tokens(rows: Sequence[Sums], id: str, days: Sequence[str] | None = None) -> charts.Chart:
    """Input and output tokens by day."""
    days = days or last_days()
    input = [Decimal(sum(row.input_tokens for row in rows if row.day == day)) for day in days]
    output = [Decimal(sum(row.output_tokens for row in rows if row.day == day)) for day in days]
    both = [charts.Series("Input", input), charts.Series("Output", output)]
    return charts.bars(id, "Tokens by day", days, both)


def _by_model(
    rows: Sequence[Sums],
    id: str,
    title: str,
    value: Callable[[Sums], Decimal],
    tell: Callable[[Decimal], str],
    days: Sequence[str] | None,
) -> charts.Chart:
    days = days or last_days()
    place = {day: i for i, day in enumerate(days)}
    columns: dict[str, list[Decimal]] = {}
    for row in rows:
        if row.day in place:
            column = columns.setdefault(row.model, [Decimal(0)] * len(days))
            column[place[row.day]] += value(row)
    return charts.bars(id, title, days, [charts.Series(*one) for one in sorted(columns.items())], tell)
