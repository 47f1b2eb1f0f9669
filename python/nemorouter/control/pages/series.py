"""Sums by day and model, as the charts and tables of pages want them. Pure functions."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

from nemorouter.control.pages import charts
from nemorouter.services.fields.values import usd_text
from nemorouter.services.reports.overview import DAYS, Totals
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
    """List the last ``many`` days of UTC, oldest first, today included."""
    today = (now or datetime.now(UTC)).date()
    return [(today - timedelta(days=back)).isoformat() for back in range(many - 1, -1, -1)]


def total(rows: Sequence[Totals], name: str = "") -> Total:
    """All of them together."""
    return Total(
        name=name,
        requests=sum(row.requests for row in rows),
        input_tokens=sum(row.input_tokens for row in rows),
        output_tokens=sum(row.output_tokens for row in rows),
        cost=usd_text(int(sum((Decimal(row.cost) for row in rows), Decimal(0)) * NANO)),
        unknown_cost=sum(row.unknown_cost for row in rows),
    )


def of_days(rows: Sequence[Totals], since: str) -> Total:
    """Those of the day ``since`` and after."""
    return total([row for row in rows if row.day >= since])


def by_model(rows: Sequence[Totals]) -> list[Total]:
    """By model, the dearest first."""
    found = [total(some, model) for model, some in sorted(_models(rows).items())]
    return sorted(found, key=lambda one: (Decimal(one.cost), one.requests), reverse=True)


def requests(rows: Sequence[Totals], id: str, days: Sequence[str] | None = None) -> charts.Chart:
    """Draw requests by day."""
    days = days or last_days()
    one = charts.Series("Requests", _by_day(rows, days, lambda row: row.requests))
    return charts.bars(id, "Requests by day", days, [one])


def tokens(rows: Sequence[Totals], id: str, days: Sequence[str] | None = None) -> charts.Chart:
    """Input and output tokens by day."""
    days = days or last_days()
    input = charts.Series("Input", _by_day(rows, days, lambda row: row.input_tokens))
    output = charts.Series("Output", _by_day(rows, days, lambda row: row.output_tokens))
    return charts.bars(id, "Tokens by day", days, [input, output])


def spend(rows: Sequence[Totals], id: str, days: Sequence[str] | None = None) -> charts.Chart:
    """Spend by day, stacked by model."""
    days = days or last_days()
    stacked = [
        charts.Series(model, _by_day(some, days, lambda row: Decimal(row.cost)))
        for model, some in sorted(_models(rows).items())
    ]
    return charts.bars(id, "Spend by day", days, stacked, charts.money)


def _models(rows: Sequence[Totals]) -> dict[str, list[Totals]]:
    """Sort rows by their models, in one pass."""
    found: dict[str, list[Totals]] = {}
    for row in rows:
        found.setdefault(row.model, []).append(row)
    return found


def _by_day(
    rows: Sequence[Totals], days: Sequence[str], value: Callable[[Totals], Decimal | int]
) -> list[Decimal]:
    sums = dict.fromkeys(days, Decimal(0))
    for row in rows:
        if row.day in sums:
            sums[row.day] += value(row)
    return list(sums.values())
