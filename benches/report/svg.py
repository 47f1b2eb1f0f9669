"""Draw two kinds of plots as SVG text: dots with their spread, and lines over a growing size.

A plot has its own background, and its colours follow the reader's preference for light or dark.
"""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Final, NamedTuple

WIDTH: Final = 860
_STYLE: Final = """
text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;fill:#24292f}
.ground{fill:#ffffff;stroke:#d0d7de}.title{font-weight:600;font-size:15px}
.soft{fill:#57606a;font-size:12px}.grid{stroke:#e4e8ec}.whisker{stroke-width:2;stroke-linecap:round}
.line{fill:none;stroke-width:2}.end{text-anchor:end}.mid{text-anchor:middle}
.stem{stroke-width:9;opacity:.35}
.c0{fill:#0969da;stroke:#0969da}.c1{fill:#c2410c;stroke:#c2410c}.c2{fill:#6e7781;stroke:#6e7781}
.c3{fill:#1a7f37;stroke:#1a7f37}.c4{fill:#8250df;stroke:#8250df}.c5{fill:#b08800;stroke:#b08800}
@media(prefers-color-scheme:dark){
text{fill:#e6edf3}.ground{fill:#0d1117;stroke:#30363d}.soft{fill:#9198a1}.grid{stroke:#21262d}
.c0{fill:#58a6ff;stroke:#58a6ff}.c1{fill:#ff9d5c;stroke:#ff9d5c}.c2{fill:#9198a1;stroke:#9198a1}
.c3{fill:#56d364;stroke:#56d364}.c4{fill:#bc8cff;stroke:#bc8cff}.c5{fill:#e3b341;stroke:#e3b341}}
.line{fill:none!important}
"""
COLOURS: Final = 6


class Dot(NamedTuple):
    """A line of a dot plot: its name, all values, the number of its colour, and its label.

    The dot is at the median of the values.
    """

    name: str
    values: Sequence[float]
    colour: int
    label: str


class Group(NamedTuple):
    """The dots under one heading."""

    heading: str
    dots: Sequence[Dot]


class Point(NamedTuple):
    """A point of a line: its place along the bottom, and all values that were measured there."""

    at: float
    values: Sequence[float]


class Line(NamedTuple):
    """A line: its name, its points, and the number of its colour."""

    name: str
    points: Sequence[Point]
    colour: int


class Panel(NamedTuple):
    """A diagram of lines with its title and the names of both axes.

    The axis along the bottom is logarithmic; the other one is so if ``log``.
    """

    title: str
    along: str
    up: str
    lines: Sequence[Line]
    log: bool = True


_NAMES = 320
"""The least width of the column of names."""
_LETTER = 7
"""The average width of a letter."""


def dot_plot(title: str, note: str, groups: Sequence[Group], *, log: bool = True) -> str:
    """Draw each dot on a line; a bar behind it reaches from its least to its greatest value."""
    longest = max(len(dot.name) for group in groups for dot in group.dots)
    left = max(_NAMES, longest * _LETTER + 28)
    right = 110
    row = 22
    top = 62
    everything = [value for group in groups for dot in group.dots for value in dot.values]
    scale = _Scale(min(everything), max(everything), left, WIDTH - right, log=log, zero=not log)
    parts = []
    y = top
    for group in groups:
        parts.append(_text(16, y + 5, group.heading, "title"))
        y += row + 4
        for dot in group.dots:
            parts += _dot(dot, scale, left, y)
            y += row
        y += 10
    grid = [_grid(scale.at(tick), top - 8, y - 8) for tick in scale.ticks()]
    labels = [_text(scale.at(tick), top - 14, _short(tick), "soft mid") for tick in scale.ticks()]
    return _svg(title, note, y + 4, [*grid, *labels, *parts])


def _dot(dot: Dot, scale: "_Scale", left: int, y: float) -> list[str]:
    ordered = sorted(dot.values)
    low, high, middle = (scale.at(value) for value in (ordered[0], ordered[-1], _median(ordered)))
    stem = ""
    if not scale.log:  # a bar from the beginning of the scale has no meaning on a logarithmic one
        line = f'x1="{left}" x2="{middle:.1f}" y1="{y}" y2="{y}"'
        stem = f'<line class="stem c{dot.colour}" {line}/>'
    bar = f'x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"'
    return [
        _text(left - 12, y + 4, dot.name, "end"),
        stem,
        f'<line class="whisker c{dot.colour}" opacity=".45" {bar}/>',
        f'<circle class="c{dot.colour}" cx="{middle:.1f}" cy="{y}" r="4.5"/>',
        _text(max(high, middle) + 10, y + 4, dot.label, "soft"),
    ]


def line_plot(title: str, note: str, panels: Sequence[Panel]) -> str:
    """Draw panels two abreast; a single one has the whole width."""
    columns = 1 if len(panels) == 1 else 2
    width = (WIDTH - 24) / columns
    height = 270
    parts = []
    for number, panel in enumerate(panels):
        x = 12 + width * (number % columns)
        y = 52 + height * (number // columns)
        parts += _panel(panel, x, y, width, height)
    return _svg(title, note, 52 + height * math.ceil(len(panels) / columns), parts)


def _panel(panel: Panel, x: float, y: float, width: float, height: float) -> list[str]:
    names = len(panel.lines) > 1
    left = x + 58
    right = x + width - (150 if names else 24)
    top = y + 44
    bottom = y + height - 46
    ats = [point.at for line in panel.lines for point in line.points]
    values = [value for line in panel.lines for point in line.points for value in point.values]
    along = _Scale(min(ats), max(ats), left, right, log=True, tight=True)
    up = _Scale(min(values), max(values), bottom, top, log=panel.log, zero=not panel.log)
    parts = [_text(x + 8, y + 16, panel.title, "title"), _text(x + 8, y + 33, panel.up, "soft")]
    parts.append(_text((left + right) / 2, bottom + 36, panel.along, "soft mid"))
    for tick in up.ticks():
        at = up.at(tick)
        ends_of_line = f'x1="{left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"'
        parts.append(f'<line class="grid" {ends_of_line}/>')
        parts.append(_text(left - 6, at + 4, _short(tick), "soft end"))
    parts += [_text(along.at(at), bottom + 18, _short(at), "soft mid") for at in sorted(set(ats))]
    ends: list[float] = []
    for line in sorted(panel.lines, key=lambda line: -_median(line.points[-1].values)):
        parts += _line(line, along, up)
        if names:
            last = line.points[-1]
            height_of_name = _free(up.at(_median(last.values)) + 4, ends)
            style = f"soft c{line.colour}"
            parts.append(
                _text(along.at(last.at) + 10, height_of_name, line.name, style, stroke=False)
            )
    return parts


def _line(line: Line, along: "_Scale", up: "_Scale") -> list[str]:
    points = [(along.at(point.at), up.at(_median(point.values))) for point in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts = [f'<polyline class="line c{line.colour}" points="{path}"/>']
    for point, (x, y) in zip(line.points, points, strict=True):
        low = up.at(min(point.values))
        high = up.at(max(point.values))
        spread = f'x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"'
        parts.append(f'<line class="whisker c{line.colour}" opacity=".45" {spread}/>')
        parts.append(f'<circle class="c{line.colour}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>')
    return parts


def _free(wanted: float, taken: list[float]) -> float:
    """Return the height nearest to ``wanted`` at which a label does not cover the last one."""
    height = max([wanted, *(each + 14 for each in taken[-1:])])
    taken.append(height)
    return height


class _Scale:
    """A scale that maps values to places.

    A logarithmic scale begins and ends at round numbers unless it is ``tight``; a scale with
    ``zero`` begins at 0.
    """

    def __init__(
        self,
        least: float,
        most: float,
        start: float,
        end: float,
        *,
        log: bool,
        zero: bool = False,
        tight: bool = False,
    ) -> None:
        self.log = log
        self._start = start
        self._end = end
        if log and not tight:
            least = _rounded(least, math.floor)
            most = _rounded(most, math.ceil)
        if zero:
            least = 0.0
            most *= 1.08
        self._least = least
        self._most = most if most > least else least * 1.01 + 0.001

    def at(self, value: float) -> float:
        """Return the place of ``value``."""
        if self.log:
            part = math.log(value / self._least) / math.log(self._most / self._least)
        else:
            part = (value - self._least) / (self._most - self._least)
        return self._start + (self._end - self._start) * part

    def ticks(self) -> list[float]:
        """Return the round numbers between the ends of the scale."""
        if self.log:
            first = math.floor(math.log10(self._least))
            last = math.ceil(math.log10(self._most))
            fine = (1, 2, 5) if last - first <= 3 else (1,)
            all_ticks = [step * 10.0**power for power in range(first, last + 1) for step in fine]
        else:
            step = 10 ** math.floor(math.log10(self._most / 2))
            step *= next(each for each in (1, 2, 5, 10) if self._most / (step * each) <= 6)
            all_ticks = [step * number for number in range(int(self._most / step) + 1)]
        return [tick for tick in all_ticks if self._least * 0.999 <= tick <= self._most * 1.001]


def _rounded(value: float, way: Callable[[float], int]) -> float:
    """Round ``value`` down (``math.floor``) or up to 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    steps = (1, 2, 5, 10)
    if way is math.floor:
        return power * max(step for step in steps if step * power <= value * 1.0001)
    return power * min(step for step in steps if step * power >= value * 0.9999)


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _grid(x: float, top: float, bottom: float) -> str:
    return f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'


def _short(value: float) -> str:
    """Write a number with few characters: 1000 as "1 k"."""
    for size, name in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{name}"
    return f"{value:g}"


def _text(x: float, y: float, text: str, kind: str = "", *, stroke: bool = True) -> str:
    plain = "" if stroke else ' stroke="none" style="stroke:none"'
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{plain}>{escape(text)}</text>'


def _svg(title: str, note: str, height: float, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">'
    ground = (
        f'<rect class="ground" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1:.0f}" rx="8"/>'
    )
    words = [_text(16, 24, title, "title"), _text(WIDTH - 16, 24, note, "soft end")]
    about = [f"<title>{escape(title)}</title>", f"<style>{_STYLE}</style>"]
    return "\n".join([head, *about, ground, *words, *parts, "</svg>", ""])
