"""Charts as accessible SVG: pure functions from series of numbers to what the template draws.

Shapes stretch with the page, so text never lies inside the SVG; a table of the same numbers stands
beneath.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from nemorouter.control.pages.words import compact, usd

WIDTH: Final = 1000
HEIGHT: Final = 100
COLOURS: Final = 6
"""Classes ``s0`` … ``s5`` of the style sheet; the last is for "others"."""
_GAP: Final = 0.22  # of a bar's place


class Series(NamedTuple):
    """One thing measured over all days of a chart."""

    name: str
    values: Sequence[Decimal]


class Segment(NamedTuple):
    """A rectangle of a bar, in units of the plot."""

    colour: int
    y: str
    height: str


class Bar(NamedTuple):
    """One day: where it stands, what a pointer over it tells, and its parts from the bottom up."""

    x: str
    width: str
    place: str  # left edge of the whole column
    column: str  # width of the whole column
    told: str
    parts: list[Segment]


class Chart(NamedTuple):
    """All that the template needs; ``rows`` is the table beneath."""

    id: str
    title: str
    summary: str
    bars: list[Bar]
    top: str
    middle: str
    ends: list[str]
    names: list[str]
    rows: list[tuple[str, list[str], str]]
    empty: bool


def money(value: Decimal) -> str:
    """Write an amount of USD for an axis or a table."""
    return usd(str(value))


def count(value: Decimal) -> str:
    """Write a whole number for an axis or a table."""
    return compact(int(value))


def bars(
    id: str,
    title: str,
    days: Sequence[str],
    series: Sequence[Series],
    tell: Callable[[Decimal], str] = count,
) -> Chart:
    """Stacked bars, a day each. Series beyond the sixth are added up as "others"."""
    series = _folded(series)
    totals = [sum((one.values[i] for one in series), Decimal(0)) for i in range(len(days))]
    top = ceiling(max(totals, default=Decimal(0)))
    if tell is count and top % 2 and top < 10:
        top += 1  # so that the middle of the axis is a whole number
    total = sum(totals, Decimal(0))
    column = Decimal(WIDTH) / max(1, len(days))
    drawn = [
        Bar(
            x=_short(column * i + column * Decimal(_GAP) / 2),
            width=_short(column * Decimal(1 - _GAP)),
            place=_short(column * i),
            column=_short(column),
            told=f"{day}: {tell(totals[i])}" + _told(series, i, tell),
            parts=_parts([one.values[i] for one in series], top),
        )
        for i, day in enumerate(days)
    ]
    return Chart(
        id=id,
        title=title,
        summary=_summary(days, totals, total, tell),
        bars=drawn,
        top=tell(top),
        middle=tell(top / 2),
        ends=[days[0], days[len(days) // 2], days[-1]] if len(days) > 2 else list(days),
        names=[one.name for one in series],
        rows=[
            (day, [tell(one.values[i]) for one in series], tell(totals[i]))
            for i, day in enumerate(days)
        ],
        empty=not total,
    )


def ceiling(value: Decimal) -> Decimal:
    """Return the end of the axis: the next of 1, 2, 4, 5 or 10 times a power of ten.

    Without any value the axis ends at 1.
    """
    if value <= 0:
        return Decimal(1)
    power = Decimal(10) ** value.adjusted()
    return next(power * step for step in (1, 2, 4, 5, 10) if power * step >= value)


def _summary(
    days: Sequence[str], totals: Sequence[Decimal], total: Decimal, tell: Callable[[Decimal], str]
) -> str:
    if not total:
        return "Nothing in this time."
    best = max(range(len(days)), key=lambda i: totals[i])
    return f"{tell(total)} in {len(days)} days; the most on {days[best]}: {tell(totals[best])}."


def _folded(series: Sequence[Series]) -> list[Series]:
    ranked = sorted(series, key=lambda one: sum(one.values), reverse=True)
    if len(ranked) <= COLOURS:
        return ranked
    kept = ranked[: COLOURS - 1]
    rest = ranked[COLOURS - 1 :]
    others = [sum(column, Decimal(0)) for column in zip(*(one.values for one in rest), strict=True)]
    return [*kept, Series(f"{len(rest)} others", others)]


def _told(series: Sequence[Series], i: int, tell: Callable[[Decimal], str]) -> str:
    if len(series) < 2:
        return ""
    return "".join(f"\n{one.name}: {tell(one.values[i])}" for one in series if one.values[i])


def _parts(values: Sequence[Decimal], top: Decimal) -> list[Segment]:
    parts: list[Segment] = []
    below = Decimal(0)
    for colour, value in enumerate(values):
        if value > 0:
            height = value / top * HEIGHT
            if not parts and not any(values[colour + 1 :]):
                height = max(height, Decimal("0.8"))  # so that little is not mistaken for nothing
            parts.append(Segment(colour, _short(HEIGHT - below - height), _short(height)))
            below += height
    return parts


def _short(value: Decimal) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
