"""What was promised, and whether the figures keep it. A promise that nobody measured is said to be
open.
"""

from collections.abc import Iterator
from typing import NamedTuple

from benches.report.pieces import Row, Step, middle, spread
from benches.report.pool import Report, gate_ratios
from benches.report.words import nanoseconds, number

RSGI, FORWARD, ENVOY, PROXIED = (
    "NemoRouter RSGI",
    "NemoRouter RSGI, forwarding",
    "Envoy",
    "Envoy, proxied",
)
USUAL, CONTRACT = "Granian RSGI, usual slice", "Granian RSGI, the contract's headers"
WHOLE = "identify admit settle"


class Aim(NamedTuple):
    """A line of the table: what, the aim, what was found, and whether it holds (None: not
    measured).
    """

    what: str
    aim: str
    found: str
    holds: bool | None


def aims(report: Report) -> Iterator[Aim]:
    """In the order of importance."""
    yield from _gate(report)
    yield from _server(report)
    yield from _rivals(report)
    yield from _growth(report)


def _gate(report: Report) -> Iterator[Aim]:
    steps = report.steps("micro")
    ratios = gate_ratios(steps).get(WHOLE)
    yield _at_least("gate: identify + admit + settle, pure Python over native", 20, ratios)
    native = _step(steps, WHOLE, "native")
    found = middle(native.ns) if native else None
    told = nanoseconds(found) if found else ""
    yield Aim(
        "gate: the same from Python, CPU time, 1 k keys",
        "≤ 400 ns",
        told,
        None if not found else found <= 400,
    )


def _server(report: Report) -> Iterator[Aim]:
    everything = report.row("everything", RSGI)
    what = "server: everything on, CPU over a constant answer that reads the body"
    yield _at_most(what, 1.20, everything.ratio if everything else None)
    if everything:
        worker = [mine / cpu * each for mine, cpu, each in _zipped(everything)]
        yield _at_most(
            "server: the same without the drainer, a process beside the requests", 1.20, worker
        )
        yield from _over_others(report, "everything", everything, 1.20)
    refused = report.row("401", RSGI)
    what = "server: a refusal by credential, CPU over a constant answer, body unread"
    yield _at_most(what, 1.15, refused.ratio if refused else None)
    yield from _over_others(report, "401", refused, 1.15)
    forwarded = report.row("provider", FORWARD)
    what = "server: through a local provider, CPU over Granian and the same HTTP client"
    yield _at_most(what, 1.25, forwarded.ratio if forwarded else None)


def _over_others(report: Report, scenario: str, ours: Row | None, aim: float) -> Iterator[Aim]:
    """Over Granian as it comes, for the base has the time slice that only ``serve`` asks for; and
    over what no handler that keeps the contract can leave out.
    """
    for server, words in (
        (USUAL, "with the usual time slice"),
        (CONTRACT, "that sends the contract's headers"),
    ):
        other = report.row(scenario, server)
        if other and ours:
            yield _at_most(f"server: the same over Granian {words}", aim, _over(ours, other))


def _zipped(row: Row) -> Iterator[tuple[float, float, float]]:
    return zip(row.worker_us, row.cpu_us, row.ratio, strict=True)


def _rivals(report: Report) -> Iterator[Aim]:
    ours, theirs = (
        report.row("authenticate", RSGI),
        report.row("authenticate", "LiteLLM, master key"),
    )
    times = _over(theirs, ours)
    yield _at_least(
        "requests a second and core, authenticated, over LiteLLM (master key, mocked answer)",
        100,
        times,
    )
    ours, theirs = report.row("limits", RSGI), report.row("limits", ENVOY)
    yield _at_least(
        "requests a second and core with limits, over Envoy (constant answer)",
        1,
        _over(theirs, ours),
    )
    ours, theirs = report.row("provider", FORWARD), report.row("provider", PROXIED)
    yield _at_least(
        "requests a second and core through a provider, over Envoy", 1, _over(theirs, ours)
    )
    theirs = report.row("provider", "TensorZero")
    yield _at_least(
        "requests a second and core through a provider, over TensorZero", 1, _over(theirs, ours)
    )


def _over(theirs: Row | None, ours: Row | None) -> list[float] | None:
    """Their CPU a request over ours, each against its own floor, so that the machine's mood drops
    out.
    """
    if theirs is None or ours is None:
        return None
    return [one / other for one, other in zip(theirs.ratio, ours.ratio, strict=False)]


def _growth(report: Report) -> Iterator[Aim]:
    sizes = [size for piece in report.pieces for size in piece.sizes]
    few, many = (
        [size for size in sizes if size.keys == 1_000],
        [size for size in sizes if size.keys == 1_000_000],
    )
    if not few or not many:
        yield Aim("growth: a decision at 1 M keys over one at 1 k", "≤ 2", "", None)
        return
    grown = [big.cost_ns / small.cost_ns for big, small in zip(many, few, strict=False)]
    yield _at_most("growth: a decision at 1 M keys over one at 1 k", 2, grown)
    memory = middle(size.bytes_a_key for size in many)
    yield Aim("memory: bytes a key and host at 1 M keys", "≤ 400", number(memory), memory <= 400)
    live = [size.live for size in many if size.live is not None]
    if live:
        load, respawn = (
            middle(each.load_s for each in live),
            middle(each.respawn_s for each in live),
        )
        yield Aim(
            "memory: seconds to load 1 M keys from the store", "≤ 10", number(load), load <= 10
        )
        what = "memory: seconds until a new worker admits at 1 M keys"
        yield Aim(what, "≤ 1", number(respawn), respawn <= 1)


def _step(steps: list[Step], step: str, by: str) -> Step | None:
    return next(
        (each for each in steps if each.step == step and each.by == by and not each.keys), None
    )


def _at_least(what: str, aim: float, values: list[float] | None) -> Aim:
    return _aim(what, f"≥ {aim:g}×", values, lambda found: found >= aim)


def _at_most(what: str, aim: float, values: list[float] | None) -> Aim:
    return _aim(what, f"≤ {aim:.2f}×", values, lambda found: found <= aim)


def _aim(what: str, aim: str, values: list[float] | None, holds: object) -> Aim:
    if not values:
        return Aim(what, aim, "", None)
    found, around = middle(values), spread(values)
    digits = 2 if found < 10 else 1
    verdict: bool = holds(found)  # type: ignore[operator]
    return Aim(what, aim, f"{found:.{digits}f}× ± {around:.{digits}f}", verdict)
