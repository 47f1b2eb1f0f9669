"""Choose the figures that go into each plot of the report."""

from collections.abc import Callable, Iterator
from typing import Final

from benches.report.pieces import Pace, Part, Row, middle
from benches.report.pool import Report
from benches.report.svg import Dot, Group, Line, Panel, Point, dot_plot, line_plot
from benches.report.words import microseconds

_HEADINGS: Final = {
    "unread": "constant, body unread",
    "read": "constant, body read",
    "authenticate": "authenticate",
    "limits": "+ RPM and TPM",
    "everything": "+ budgets, log: everything on",
    "429": "429 storm",
    "401": "401 spray",
    "stream": "50 chunks, everything on",
    "provider": "through a local provider",
}
_GROWTH: Final = {
    "growth-keys": ("keys", "keys"),
    "growth-workers": ("workers on one core", "workers"),
    "growth-body": ("size of the body", "bytes"),
    "growth-stream": ("length of a stream", "chunks"),
    "growth-log": ("rows in the log", "rows (1: none)"),
}
_PROFILED: Final = (
    "bare Granian RSGI, body read",
    "NemoRouter RSGI, everything on",
    "Envoy, key and local rate limit",
)
_GATES: Final = ("native", "reference", "limits-fixed", "limits-sliding", "throttled", "pyrate")


def plots(report: Report) -> Iterator[tuple[str, str]]:
    """Yield the file name and the SVG text of each plot that has figures."""
    makers: dict[str, Callable[[Report], str | None]] = {
        "servers": _servers,
        "latency": _latency,
        "growth": _growth,
        "gate": _gate,
        "profile": _profile,
    }
    for name, make in makers.items():
        text = make(report)
        if text is not None:
            yield f"{name}.svg", text


def _servers(report: Report) -> str | None:
    groups = []
    for name, heading in _HEADINGS.items():
        rows = report.rows(name)
        if rows:
            groups.append(Group(heading, [_server(row) for row in rows]))
    title = "CPU time of a whole request, by server"
    return dot_plot(title, "microseconds, logarithmic: left is better", groups) if groups else None


def _server(row: Row) -> Dot:
    colour = 0 if row.server.startswith("Nemo") else 1
    if "Granian" in row.name or row.name.startswith("FastAPI"):
        colour = 2
    if row.server == "NemoRouter, pure-Python gate":
        colour = 5
    return Dot(row.name, row.cpu_us, colour, microseconds(middle(row.cpu_us)))


def _latency(report: Report) -> str | None:
    lines: dict[str, list[tuple[int, Pace]]] = {}
    for pace in report.paces():
        if pace.kept:
            lines.setdefault(pace.name, []).append((pace.rate, pace))
    if not lines:
        return None

    def of(share: str) -> list[Line]:
        return [
            Line(_brief(name), [Point(rate, getattr(pace, share)) for rate, pace in paces], number)
            for number, (name, paces) in enumerate(lines.items())
        ]

    up = "microseconds from the instant when a request was due"
    panels = [
        Panel("p50", "requests a second, evenly spaced", up, of("p50_us")),
        Panel("p99", "requests a second, evenly spaced", up, of("p99_us")),
    ]
    return line_plot("Latency at fixed rates", "a rate that was not kept is left out", panels)


def _brief(name: str) -> str:
    known = {
        "bare": "bare Granian",
        "Envoy,": "Envoy",
        "TensorZero": "TensorZero",
        "LiteLLM,": "LiteLLM",
    }
    first = name.partition(" ")[0]
    return known.get(first) or ("Nemo, provider" if "provider" in name else "Nemo, all on")


def _growth(report: Report) -> str | None:
    panels = []
    for name, (title, along) in _GROWTH.items():
        rows = report.rows(name)
        if rows:
            points = [Point(max(row.size, 1), row.cpu_us) for row in rows]
            up = "microseconds of CPU a request"
            panels.append(
                Panel(title, along, up, [Line(title, points, 0)], log=along in ("bytes", "chunks"))
            )
    if not panels:
        return None
    return line_plot("How the cost of a request grows", "everything on, one core", panels)


def _gate(report: Report) -> str | None:
    steps = [step for step in report.steps("micro") if step.keys and step.threads == 1]
    if not steps:
        return None

    def panel(spread: str, title: str) -> Panel:
        lines = []
        for number, by in enumerate(_GATES):
            chosen = (step for step in steps if step.by == by and step.spread == spread)
            points = [Point(s.keys, s.ns) for s in sorted(chosen, key=lambda step: step.keys)]
            if points:
                lines.append(Line(_gate_name(by), points, number))
        return Panel(title, "keys", "nanoseconds of CPU a decision", lines)

    drawn = (panel("even", "keys drawn evenly"), panel("hot", "one hot key"))
    panels = [each for each in drawn if each.lines]
    return line_plot(
        "A decision in memory",
        "a gate decides at four scopes and records; a limiter counts",
        panels,
    )


def _gate_name(by: str) -> str:
    known = {"native": "NemoRouter", "reference": "pure Python", "throttled": "throttled-py"}
    return known.get(by, by)


def _profile(report: Report) -> str | None:
    parts = report.parts()
    if not parts:
        return None
    groups = [Group(part.name, _places(part)) for part in parts if part.name in _PROFILED]
    if not groups:
        return None
    title = "Where a request's CPU time goes"
    return dot_plot(title, "microseconds, by library", groups, log=False)


def _places(part: Part) -> list[Dot]:
    """Return a dot for each place that takes at least half a microsecond, the greatest first."""
    return [
        Dot(name, [us], 3 if name == "native gate" else 0, f"{us:.1f} µs")
        for name, us in sorted(part.where.items(), key=lambda item: -item[1])
        if us >= 0.5
    ]
