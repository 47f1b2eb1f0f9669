"""The chapters of the report, each made of the figures it is about; empty if there are none."""

from collections.abc import Callable
from typing import Final

from benches.report.aims import aims
from benches.report.pieces import Count, Row, middle
from benches.report.pool import SCENARIOS, Report, compared, gate_ratios
from benches.report.profile import profile
from benches.report.words import microseconds, nanoseconds, number, ratio, table
from nemorouter.bench.machine import Machine

_LIMITERS: Final = {
    "native": "NemoRouter, all of it",
    "reference": "the same in pure Python",
    "limits-fixed": "limits, fixed window",
    "limits-sliding": "limits, sliding counter",
    "throttled": "throttled-py",
    "pyrate": "pyrate-limiter",
}


def head(report: Report) -> str:
    """Machine, versions, dates, and what was measured."""
    machines = list(dict.fromkeys(_machine(piece.machine) for piece in report.pieces))
    taken = sorted(piece.taken for piece in report.pieces)
    versions = "; ".join(f"{name} {version}" for name, version in sorted(report.versions().items()))
    return (
        "# How fast it is\n\n"
        "Made by `make bench-report` of the JSON in [data](data), which the other `bench` verbs of the "
        "Makefile measured; "
        "nothing here is written by hand. [How it is measured](../README.md).\n\n"
        f"- **Machine**: {' / '.join(machines)}\n"
        f"- **Measured**: {taken[0]} to {taken[-1]}, {len(report.runs)} run(s)\n"
        f"- **Sources** (trees as git names them): {_sources(report)}\n"
        f"- **Versions**: {versions}\n\n"
        "Figures are medians over all rounds of all runs. **±** is half the distance from the least to the "
        "greatest round. "
        "The machine is a small virtual one that others share: times move by tens of per cent, ratios of one "
        "run much less.\n"
    )


def _sources(report: Report) -> str:
    """What was measured when the sources changed between two pieces is told apart."""
    made: dict[str, list[str]] = {}
    for piece in report.pieces:
        made.setdefault(piece.source, []).append(piece.name)
    if len(made) == 1:
        return next(iter(made))
    return "; ".join(
        f"{source} ({', '.join(dict.fromkeys(names))})" for source, names in made.items()
    )


def _machine(machine: Machine) -> str:
    return (
        f"{machine.cpu}, {machine.cores} cores, {machine.memory_gib} GiB, {machine.kernel}, "
        f"Python {machine.python}, {machine.date}"
    )


def promises(report: Report) -> str:
    """The aims, and what was found."""
    marks = {True: "yes", False: "**no**", None: "not measured"}
    rows = [(aim.what, aim.aim, aim.found, marks[aim.holds]) for aim in aims(report)]
    return "## In short\n\n" + table(("what ", "aim", "found", "holds"), rows)


def servers(report: Report) -> str:
    """A table a scenario."""
    parts = [_scenario(report, name) for name in SCENARIOS if report.rows(name)]
    if not parts:
        return ""
    any_piece = next(piece for name in SCENARIOS if (piece := report.first(name)))
    rounds, seconds, starts = (
        any_piece.method.get(name, 1) for name in ("rounds", "seconds", "starts")
    )
    return (
        "## Whole servers\n\n<!-- plot: servers -->\n\n"
        f"One worker on one core, the load (wrk, one thread, {any_piece.method['connections']:.0f} "
        f"connections, one request in "
        f"flight each) on another. Base and case take turns, {rounds:.0f} rounds of {seconds:.0f} s on each of the "
        f"{starts:.0f} set(s) of servers that a run starts one after the other. **CPU** is the "
        "server's own time a request, of all its processes (for NemoRouter the drainer that writes the log, too). "
        "**× base** compares CPU with the base measured right beside it; the first line is the base against "
        "itself, "
        "and shows how far two equal things differ here. What a server leaves out, or what favours it, "
        "stands beside it.\n\n" + "\n".join(parts)
    )


def _scenario(report: Report, name: str) -> str:
    piece = report.first(name)
    assert piece is not None
    columns = (
        "server ",
        "CPU",
        "× base",
        "requests/s",
        "per core",
        "p50",
        "p99",
        "left out, or in its favour ",
    )
    lines = [_line(row) for row in report.rows(name)]
    return f"### {piece.title}\n\nBase: {piece.base}.\n\n{table(columns, lines)}"


def _line(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        microseconds(middle(row.cpu_us)),
        ratio(row.ratio),
        number(middle(row.per_second)),
        number(1e6 / middle(row.cpu_us)),
        microseconds(middle(row.p50_us)),
        microseconds(middle(row.p99_us)),
        row.remark,
    )


def latency(report: Report) -> str:
    """Open loop."""
    paces = report.paces()
    if not paces:
        return ""
    rows = [
        (
            pace.name,
            f"{pace.rate:,}",
            "yes" if pace.kept else "**no**",
            *(
                microseconds(middle(each))
                for each in (pace.p50_us, pace.p90_us, pace.p99_us, pace.p999_us)
            ),
        )
        for pace in paces
    ]
    return (
        "## Latency at fixed rates\n\n<!-- plot: latency -->\n\n"
        "Requests are due at even distances, whatever the server does, and a latency begins when its request "
        "was due, not "
        "when a connection was free: a stall is charged to every request that it held up (no coordinated "
        "omission). The "
        "client is in Python, on a core of its own; its share is in every line alike. A rate that a server "
        "cannot keep ends "
        "its lines; what was not answered in time counts with the time it has waited.\n\n"
        + table(("server ", "requests/s", "kept", "p50", "p90", "p99", "p99.9"), rows)
    )


def growth(report: Report) -> str:
    """One table for each thing that grows."""
    parts = []
    for name in [name for name in report.names if name.startswith("growth-")]:
        piece = report.first(name)
        assert piece is not None
        lines = [
            (
                f"{row.size:,}",
                microseconds(middle(row.cpu_us)),
                ratio(row.ratio),
                microseconds(middle(row.p99_us)),
                f"{row.resident_bytes / 2**20:.0f} MiB",
            )
            for row in report.rows(name)
        ]
        columns = (piece.title, "CPU", "× base", "p99", "resident")
        parts.append(table(columns, lines, words=0))
    if not parts:
        return ""
    return (
        "## Growth\n\n<!-- plot: growth -->\n\n"
        "Everything on. Base: bare Granian that reads the same body (for streams: that sends as many "
        "constant chunks). "
        "Resident memory counts pages that processes share once for each of them.\n\n"
        + "\n".join(parts)
    )


def gate(report: Report) -> str:
    """Native against the reference, and the limiters."""
    steps = report.steps("micro")
    if not steps:
        return ""
    ratios = gate_ratios(steps)
    plain = {(step.step, step.by): step.ns for step in steps if not step.keys}
    rows = [
        (
            what,
            *(nanoseconds(middle(plain[what, by])) for by in ("native", "reference")),
            ratio(values),
        )
        for what, values in ratios.items()
        if (what, "native") in plain
    ]
    return (
        "## The gate in memory\n\n<!-- plot: gate -->\n\n"
        "The native gate and `nemorouter.reference`, the same decision in pure Python, in one process, "
        "called from Python "
        "with the same arguments: CPU time of a step. The whole decision checks the key, takes requests, "
        "tokens and money at "
        "key, team, user and org, and writes a slot that survives the process.\n\n"
        + table(("step ", "native", "pure Python", "pure Python ÷ native"), rows)
        + _limiters(report)
    )


def _limiters(report: Report) -> str:
    steps = [step for step in report.steps("micro") if step.keys]
    found = {(step.by, step.keys, step.spread, step.threads): step.ns for step in steps}
    columns = list(dict.fromkeys((step.keys, step.spread, step.threads) for step in steps))
    present = {by: name for by, name in _LIMITERS.items() if any(key[0] == by for key in found)}
    if not present:
        return ""
    rows = [
        (
            f"{_keys(keys)} keys, {spread}, {threads} thread{'s' * (threads > 1)}",
            *(nanoseconds(middle(found[by, keys, spread, threads])) for by in present),
        )
        for keys, spread, threads in columns
    ]
    return (
        "\nAgainst the in-memory limiters of PyPI. A limiter takes one request from one limit, and nothing "
        "else: no key, no "
        "tokens, no money, no record, and its memory is one process's. `limits` by a fixed window, its "
        "quickest, lets twice "
        "the limit through at a window's edge, and its sliding counter is an estimate; throttled-py and "
        "pyrate-limiter run "
        "GCRA, exact. CPU time of one decision; hot: one key over and over, even: drawn from all.\n\n"
        + table(("keys ", *present.values()), rows)
    )


def _keys(keys: int) -> str:
    return f"{keys // 1_000_000} M" if keys >= 1_000_000 else f"{keys // 1000} k"


def native(report: Report) -> str:
    """Criterion, callgrind, size."""
    parts = []
    steps = report.steps("native")
    if steps:
        rows = [(step.step, nanoseconds(middle(step.ns))) for step in steps]
        parts.append("Without Python (criterion):\n\n" + table(("step ", "time"), rows))
    counted = report.first("counts")
    if counted is not None:
        counts = [
            (each.operation, f"{each.instructions:,.0f}", _change(each)) for each in counted.counts
        ]
        about = f"{counted.title}. They repeat on any machine: `make bench-gate` fails when one grows by over 3 %.\n\n"
        parts.append(about + table(("step ", "instructions", "against the baseline"), counts))
    sizes = [size for piece in report.pieces for size in piece.sizes]
    if sizes:
        lines = [
            (f"{s.keys:,}", nanoseconds(s.cost_ns), number(s.bytes_a_key), f"{s.load_s:.2f} s")
            for s in sizes
        ]
        about = "The arena in a file, each size in a process of its own (one line a run):\n\n"
        parts.append(about + table(("keys", "decision", "bytes a key", "load"), lines, words=0))
        real = [
            (
                f"{s.keys:,}",
                f"{s.live.load_s:.2f} s",
                number(s.live.bytes_a_key),
                f"{s.live.respawn_s:.2f} s",
            )
            for s in sizes
            if s.live is not None
        ]
        about = "A server, from its store; the longest from the death of its only worker to the next answer:\n\n"
        parts.append(
            about + table(("keys", "load", "bytes a key", "new worker"), real, words=0)
            if real
            else ""
        )
    return "## The core alone\n\n" + "\n".join(parts) if parts else ""


def _change(count: Count) -> str:
    return f"{count.instructions / count.baseline - 1:+.1%}" if count.baseline else "–"


def agreement(report: Report) -> str:
    """Do two runs agree?"""
    pairs = compared(report)
    if not pairs:
        return ""
    apart = [pair for pair in pairs if not pair.agree]
    text = (
        "## Do two runs agree?\n\n"
        f"{len(pairs)} ratios were measured in both runs, at different times. They agree if their medians "
        f"differ by no more "
        f"than the ± that is stated: {len(pairs) - len(apart)} do, {len(apart)} do not.\n"
    )
    rows = [
        (pair.what, f"{pair.one:.2f}", f"{pair.other:.2f}", f"± {pair.within:.2f}")
        for pair in apart
    ]
    return text + (
        "\n" + table(("ratio ", "first run", "last run", "stated"), rows) if rows else ""
    )


def left_out(report: Report) -> str:
    """Who could not be had, and why."""
    skipped = report.skipped()
    rows = list(skipped.items())
    text = "## Left out\n\n"
    if not rows:
        return (
            text
            + "Nothing: every server, every rival and every limiter could be had, and answered rightly.\n"
        )
    return text + table(("what ", "reason "), rows)


ALL: Final[tuple[Callable[[Report], str], ...]] = (
    *(head, promises, servers, latency, growth, gate, native, profile, agreement, left_out),
)
