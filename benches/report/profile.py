"""Write the chapter on where the CPU time of a request goes."""

from typing import Final

from benches.report.aims import CONTRACT, ENVOY, PROXIED, RSGI, WHOLE
from benches.report.pieces import Part, middle
from benches.report.pool import Report
from benches.report.words import nanoseconds, number, paragraph, table


def profile(report: Report) -> str:
    """Write the CPU time of each profiled case by library, and what explains it."""
    parts = report.parts()
    if not parts:
        return ""
    places = list(dict.fromkeys(place for part in parts for place in part.where))
    rows = [
        (part.name, number(part.cpu_us), *(_share(part, place) for place in places))
        for part in parts
    ]
    chapter = (
        "## Where the time goes\n\n<!-- plot: profile -->\n",
        paragraph(
            "Microseconds of CPU time a request, by the library whose code runs (perf, under",
            "saturation). *Python* is the interpreter with all Python code. *Kernel* is mostly the",
            "work on sockets, of which every handler needs as much.",
        ),
        table(("server ", "all", *places), rows),
        _remains({part.name: part for part in parts}, places),
        _before_a_decision(report),
        _envoy(report),
        _of_a_decision(report),
    )
    return "\n".join(part for part in chapter if part)


_AIM: Final = 1.20
_CORE: Final = "identify + admit + settle: 1000 keys"
_OVER: Final = {
    "NemoRouter RSGI, everything on": "bare Granian RSGI, body read",
    "NemoRouter RSGI, forwarding": "Granian RSGI and the same HTTP client",
}


def _remains(parts: dict[str, Part], places: list[str]) -> str:
    """Write what a whole answer costs over its floor, library by library."""
    rows = []
    for name, floor in _OVER.items():
        if name in parts and floor in parts:
            more = [
                parts[name].where.get(place, 0) - parts[floor].where.get(place, 0)
                for place in places
            ]
            all_of_it = parts[name].cpu_us - parts[floor].cpu_us
            rows.append((name, *(f"{one:.1f}" for one in (all_of_it, *more))))
    if not rows:
        return ""
    about = paragraph(
        "What a request costs over the floor, in microseconds. The gate is a small part of it.",
        "*Python* runs the coroutine and its calls, and makes the objects of the answer's headers.",
        "The *drainer* writes a row of the log with its indexes into SQLite. *Granian* copies the",
        "request's headers and checks each header of the answer. In the *kernel*, the threads of",
        "Granian and of Python sleep and wake while the other one holds Python's lock, and they do",
        "so more often the longer Python runs.",
    )
    return f"{about}\n{table(('over the floor ', 'all', *places), rows)}"


def _before_a_decision(report: Report) -> str:
    """Write how much of the aim is spent before any code of the gateway has run."""
    contract = report.row("everything", CONTRACT)
    ours = report.row("everything", RSGI)
    if contract is None or ours is None:
        return ""
    shares = zip(ours.cpu_us, ours.worker_us, ours.ratio, strict=True)
    headers = middle(contract.ratio)
    drainer = middle((cpu - worker) / cpu * over for cpu, worker, over in shares)
    return paragraph(
        f"The headers and bytes that the contract asks for cost {headers:.2f} times the floor",
        "before anything is decided. The row of the log, in the drainer, costs another",
        f"{drainer:.2f} times the floor. Of the aim of {_AIM:.2f} that leaves",
        f"{_AIM - headers - drainer:+.2f} for the gateway itself.",
    )


def _envoy(report: Report) -> str:
    """Write why Envoy is ahead."""
    envoy = report.row("limits", ENVOY)
    proxied = report.row("provider", PROXIED)
    if envoy is None or proxied is None:
        return ""
    return paragraph(
        "Envoy reads, decides and answers in one thread and without Python. All of it costs",
        f"{middle(envoy.ratio):.2f} times what Granian takes to answer a constant; proxied, it",
        f"costs {middle(proxied.ratio):.2f} times what Granian and the HTTP client take. A handler",
        "on Granian begins at 1.00 in both comparisons, whatever it does.",
    )


def _of_a_decision(report: Report) -> str:
    """Write what the core takes of a decision, and what the calls from Python take."""
    whole = [
        middle(step.ns)
        for step in report.steps("micro")
        if (step.step, step.by) == (WHOLE, "native")
    ]
    core = [middle(step.ns) for step in report.steps("native") if step.step == _CORE]
    if not whole or not core:
        return ""
    return paragraph(
        f"A decision takes {nanoseconds(whole[0])} from Python. The core alone, by criterion,",
        f"takes {nanoseconds(core[0])} of them: the hash of the key, the clock, and the locked",
        "swaps. There is one swap for each bucket and money word that is taken, one for each that",
        "is corrected, and one each for the slot's claim and its end. The other",
        f"{nanoseconds(whole[0] - core[0])} are three calls from Python with all their arguments.",
    )


def _share(part: Part, place: str) -> str:
    """Write the microseconds of ``part`` in ``place``, or a dash if it has none there."""
    return number(part.where[place]) if place in part.where else "–"
