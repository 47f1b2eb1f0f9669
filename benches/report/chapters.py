"""Write the chapters of the report as Markdown; a chapter without figures is empty."""

from collections.abc import Callable
from typing import Final

from benches.report.aims import aims
from benches.report.pieces import Count, Row, middle
from benches.report.pool import SCENARIOS, Report, compared, gate_ratios
from benches.report.profile import profile
from benches.report.words import microseconds, nanoseconds, number, paragraph, ratio, table
from nemorouter.bench.machine import Machine

_LIMITERS: Final = {
    "native": "NemoRouter, native gate",
    "reference": "NemoRouter, pure Python",
    "limits-fixed": "limits, fixed window",
    "limits-sliding": "limits, sliding counter",
    "throttled": "throttled-py",
    "pyrate": "pyrate-limiter",
}


def head(report: Report) -> str:
    """Write what was measured: the machine, the dates, the sources and the versions."""
    machines = list(dict.fromkeys(_machine(piece.machine) for piece in report.pieces))
    taken = sorted(piece.taken for piece in report.pieces)
    versions = "; ".join(f"{name} {version}" for name, version in sorted(report.versions().items()))
    facts = (
        f"- **Machine**: {' / '.join(machines)}",
        f"- **Measured**: {taken[0]} to {taken[-1]}, in {len(report.runs)} run(s)",
        f"- **Sources** (hashes of git trees): {_sources(report)}",
        f"- **Versions**: {versions}",
    )
    return "\n".join(
        (
            "# How fast it is\n",
            paragraph(
                "`make bench-report` renders this page from the JSON in [data](data), which the",
                "other `bench` verbs of the Makefile wrote. No figure is written by hand. [How it",
                "is measured](../README.md).",
            ),
            "".join(paragraph(fact, indent="  ") for fact in facts),
            paragraph(
                "A figure is the median over all rounds of all runs. **±** is half the distance",
                "from the least to the greatest round. The machine is a small virtual one, whose",
                "cores others share: times vary by tens of per cent from run to run, and ratios",
                "within one run vary much less.",
            ),
        )
    )


def _sources(report: Report) -> str:
    """Write the hashes of the sources; if they changed during a run, with the pieces of each."""
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
    """Write the aims, what was measured, and whether the aims are met."""
    marks = {True: "yes", False: "**no**", None: "not measured"}
    rows = [(aim.what, aim.aim, aim.found, marks[aim.holds]) for aim in aims(report)]
    return "## In short\n\n" + table(("what ", "aim", "found", "holds"), rows)


def servers(report: Report) -> str:
    """Write a table for each scenario."""
    parts = [_scenario(report, name) for name in SCENARIOS if report.rows(name)]
    if not parts:
        return ""
    any_piece = next(piece for name in SCENARIOS if (piece := report.first(name)))
    rounds, seconds, starts, connections = (
        any_piece.method.get(name, 1) for name in ("rounds", "seconds", "starts", "connections")
    )
    return "\n".join(
        (
            "## Whole servers\n\n<!-- plot: servers -->\n",
            paragraph(
                "One worker runs on one core, and the load on another: wrk with one thread and",
                f"{connections:.0f} connections, one request in flight on each. Base and case take",
                f"turns, for {rounds:.0f} rounds of {seconds:.0f} s. A run starts {starts:.0f}",
                "set(s) of servers, one after the other, and measures all rounds on each.",
            ),
            paragraph(
                "**CPU** is the CPU time of a request, of all processes of the server; for",
                "NemoRouter it includes the drainer, which writes the log. **× base** is CPU over",
                "that of the base right beside it. The first line of a table is the base against",
                "itself: it shows how far two equal things differ here. The last column says what",
                "a server leaves out, or what favours it.",
            ),
            *parts,
        )
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
    """Write the latencies at fixed rates."""
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
    return "\n".join(
        (
            "## Latency at fixed rates\n\n<!-- plot: latency -->\n",
            paragraph(
                "Requests are due at even distances, whatever the server does. A latency counts",
                "from the instant at which its request was due and not from when a connection was",
                "free, so that a stall is charged to every request that it delayed (no coordinated",
                "omission). The client is in Python, on a core of its own, and its share is the",
                "same in every line.",
            ),
            paragraph(
                "A rate that a server cannot keep is its last line. A request that has no answer",
                "in time counts with the time for which it has waited.",
            ),
            table(("server ", "requests/s", "kept", "p50", "p90", "p99", "p99.9"), rows),
        )
    )


def growth(report: Report) -> str:
    """Write a table for each thing that grows."""
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
    return "\n".join(
        (
            "## Growth\n\n<!-- plot: growth -->\n",
            paragraph(
                "Everything is on. The base is bare Granian that reads a body of the same size;",
                "for a stream, it sends the same number of constant chunks. Resident memory counts",
                "a page that processes share once for each of them.",
            ),
            *parts,
        )
    )


def gate(report: Report) -> str:
    """Write the native gate beside the reference, and both beside the limiters of PyPI."""
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
    return "\n".join(
        (
            "## The gate in memory\n\n<!-- plot: gate -->\n",
            paragraph(
                "The native gate, and `nemorouter.reference`, which takes the same decision in",
                "pure Python. Both run in one process and are called from Python with the same",
                "arguments. A figure is the CPU time of a step. The whole decision checks the key,",
                "takes requests, tokens and money at key, team, user and org, and writes a slot",
                "that survives the process.",
            ),
            table(("step ", "native", "pure Python", "pure Python ÷ native"), rows)
            + _limiters(report),
        )
    )


def _limiters(report: Report) -> str:
    """Write one decision of the gates beside one of each limiter; empty if none was measured."""
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
    return "\n".join(
        (
            "",
            paragraph(
                "The gates beside the in-memory limiters of PyPI. A limiter takes one request from",
                "one limit and does nothing else: no key, no tokens, no money, no record, and its",
                "memory belongs to one process. The fixed window of `limits` is its quickest, and",
                "admits twice the limit at the edge of a window. Its sliding counter is an",
                "estimate. throttled-py and pyrate-limiter run GCRA, which is exact.",
            ),
            paragraph(
                "A figure is the CPU time of one decision. *hot*: the same key each time. *even*:",
                "keys drawn evenly from all.",
            ),
            table(("keys ", *present.values()), rows),
        )
    )


def _keys(keys: int) -> str:
    return f"{keys // 1_000_000} M" if keys >= 1_000_000 else f"{keys // 1000} k"


def native(report: Report) -> str:
    """Write the core without Python: time, instructions and size."""
    parts = [part for part in (_times(report), _counts(report), *_sizes(report)) if part]
    return "## The core alone\n\n" + "\n".join(parts) if parts else ""


def _times(report: Report) -> str:
    steps = report.steps("native")
    if not steps:
        return ""
    rows = [(step.step, nanoseconds(middle(step.ns))) for step in steps]
    about = paragraph("Time of a step without Python, by criterion:")
    return f"{about}\n{table(('step ', 'time'), rows)}"


def _counts(report: Report) -> str:
    piece = report.first("counts")
    if piece is None:
        return ""
    rows = [(each.operation, f"{each.instructions:,.0f}", _change(each)) for each in piece.counts]
    about = paragraph(
        f"{piece.title}. Counts are the same on a busy machine as on an idle one; `make",
        "bench-gate` fails when one grows by over 3 %:",
    )
    return f"{about}\n{table(('step ', 'instructions', 'against the baseline'), rows)}"


def _sizes(report: Report) -> tuple[str, str]:
    """Write the arena alone, and a server on a store, with few keys and many."""
    sizes = [size for piece in report.pieces for size in piece.sizes]
    if not sizes:
        return "", ""
    rows = [
        (f"{s.keys:,}", nanoseconds(s.cost_ns), number(s.bytes_a_key), f"{s.load_s:.2f} s")
        for s in sizes
    ]
    about = paragraph(
        "The arena in a file. Each size is measured in a process of its own; a line is a run:"
    )
    alone = f"{about}\n{table(('keys', 'decision', 'bytes a key', 'load'), rows, words=0)}"
    live = [
        (
            f"{s.keys:,}",
            f"{s.live.load_s:.2f} s",
            number(s.live.bytes_a_key),
            f"{s.live.respawn_s:.2f} s",
        )
        for s in sizes
        if s.live is not None
    ]
    if not live:
        return alone, ""
    about = paragraph(
        "A server that loads its keys from the store. *New worker* is the longest time from the",
        "death of its only worker to the next answer:",
    )
    columns = ("keys", "load", "bytes a key", "new worker")
    return alone, f"{about}\n{table(columns, live, words=0)}"


def _change(count: Count) -> str:
    return f"{count.instructions / count.baseline - 1:+.1%}" if count.baseline else "–"


def agreement(report: Report) -> str:
    """Write whether the first and the last run agree, and where they do not."""
    pairs = compared(report)
    if not pairs:
        return ""
    apart = [pair for pair in pairs if not pair.agree]
    text = "## Do two runs agree?\n\n" + paragraph(
        f"{len(pairs)} ratios were measured in the first run and in the last one. The runs agree",
        "on a ratio if its two medians differ by no more than the ± of all its values. They agree",
        f"on {len(pairs) - len(apart)} and disagree on {len(apart)}.",
    )
    rows = [
        (pair.what, f"{pair.one:.2f}", f"{pair.other:.2f}", f"{pair.within:.2f}") for pair in apart
    ]
    columns = ("ratio ", "first run", "last run", "±")
    return f"{text}\n{table(columns, rows)}" if rows else text


def left_out(report: Report) -> str:
    """Write what could not be measured, and the reason for each."""
    rows = list(report.skipped().items())
    text = "## Left out\n\n"
    if not rows:
        return text + paragraph(
            "Nothing is left out: every server, rival and limiter could be started, and each",
            "answered correctly.",
        )
    return text + table(("what ", "reason "), rows)


ALL: Final[tuple[Callable[[Report], str], ...]] = (
    head,
    promises,
    servers,
    latency,
    growth,
    gate,
    native,
    profile,
    agreement,
    left_out,
)
