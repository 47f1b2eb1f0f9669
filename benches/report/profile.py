"""The chapter on where the CPU time of a request goes."""

from typing import Final

from benches.report.aims import CONTRACT, ENVOY, PROXIED, RSGI, WHOLE
from benches.report.pieces import Part, middle
from benches.report.pool import Report
from benches.report.words import nanoseconds, number, table


def profile(report: Report) -> str:
    """What remains, and where."""
    parts = report.parts()
    if not parts:
        return ""
    places = list(dict.fromkeys(place for part in parts for place in part.where))
    rows = [
        (part.name, number(part.cpu_us), *(_share(part, place) for place in places))
        for part in parts
    ]
    return (
        "## Where the time goes\n\n<!-- plot: profile -->\n\n"
        "Microseconds of CPU a request, by the library that runs (perf, under saturation). Python is the "
        "interpreter with "
        "all Python code; the kernel's part is sockets, of which a handler has no less.\n\n"
        + table(("server ", "all", *places), rows)
        + _remains({part.name: part for part in parts}, places)
        + _before_a_decision(report)
        + _of_a_decision(report)
    )


_AIM: Final = 1.20
_CORE: Final = "identify + admit + settle: 1000 keys"
_OVER: Final = {
    "NemoRouter RSGI, everything on": "bare Granian RSGI, body read",
    "NemoRouter RSGI, forwarding": "Granian RSGI and the same HTTP client",
}


def _remains(parts: dict[str, Part], places: list[str]) -> str:
    """What a whole answer costs over the floor, library by library."""
    rows = []
    for name, floor in _OVER.items():
        if name in parts and floor in parts:
            more = [
                parts[name].where.get(place, 0) - parts[floor].where.get(place, 0)
                for place in places
            ]
            rows.append(
                (
                    name,
                    f"{parts[name].cpu_us - parts[floor].cpu_us:.1f}",
                    *(f"{one:.1f}" for one in more),
                )
            )
    if not rows:
        return ""
    return (
        "\nWhat remains over the floor, in the same units. The gate itself is a small part. Python: the coroutine, "
        "its calls, and the objects of the answer's headers. The drainer: a row of the log, with its indexes, in "
        "SQLite. Granian: copies of the request's headers, and the check of each header of the answer. "
        "The kernel: Granian's threads and Python's sleep and wake while the other holds Python's lock, the longer the "
        "more Python "
        "there is.\n\n" + table(("over the floor ", "all", *places), rows)
    )


def _before_a_decision(report: Report) -> str:
    """How much of an aim is spent where nothing of the gateway has run, and why Envoy is ahead."""
    contract, ours = report.row("everything", CONTRACT), report.row("everything", RSGI)
    text = ""
    if contract and ours:
        shares = zip(ours.cpu_us, ours.worker_us, ours.ratio, strict=True)
        headers, drainer = (
            middle(contract.ratio),
            middle((cpu - worker) / cpu * over for cpu, worker, over in shares),
        )
        text += (
            f"\nBefore anything is decided, the headers and bytes that the contract asks for take {headers:.2f} times "
            f"the floor, and the row of the log, in the drainer, {drainer:.2f} times the floor more. Of the aim of "
            f"{_AIM:.2f} that leaves {_AIM - headers - drainer:+.2f} for the gateway itself.\n"
        )
    envoy, proxied = report.row("limits", ENVOY), report.row("provider", PROXIED)
    if envoy and proxied:
        text += (
            "\nEnvoy reads, decides and answers in one thread and without Python. All of it costs "
            f"{middle(envoy.ratio):.2f} times what Granian takes to answer a constant, and proxied "
            f"{middle(proxied.ratio):.2f} times what Granian and the HTTP client take: that is what a handler on "
            "Granian, whatever it does, is compared with.\n"
        )
    return text


def _of_a_decision(report: Report) -> str:
    """What the core takes of a decision, and what calling it from Python does."""
    whole = [
        middle(step.ns)
        for step in report.steps("micro")
        if (step.step, step.by) == (WHOLE, "native")
    ]
    core = [middle(step.ns) for step in report.steps("native") if step.step == _CORE]
    if not whole or not core:
        return ""
    return (
        f"\nA decision takes {nanoseconds(whole[0])} from Python. The core alone, by criterion, takes "
        f"{nanoseconds(core[0])} of them: the hash of the key, the clock, and a locked swap for each bucket and money "
        "word that is taken and for each that is corrected, and for the slot's claim and its end. "
        f"The other {nanoseconds(whole[0] - core[0])} are three calls from Python with all their arguments.\n"
    )


def _share(part: Part, place: str) -> str:
    return number(part.where[place]) if place in part.where else "–"
