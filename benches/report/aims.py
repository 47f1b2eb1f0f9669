"""Compare the figures with the aims. An aim without a figure is reported as not measured."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from benches.report.pieces import Row, Step, middle, spread
from benches.report.pool import Report, gate_ratios
from benches.report.words import nanoseconds, number

RSGI = "NemoRouter RSGI"
FORWARD = "NemoRouter RSGI, forwarding"
ENVOY = "Envoy"
PROXIED = "Envoy, proxied"
TENSORZERO = "TensorZero"
LITELLM = "LiteLLM, master key"
USUAL = "Granian RSGI, usual slice"
CONTRACT = "Granian RSGI, the contract's headers"
WHOLE = "identify admit settle"


class Aim(NamedTuple):
    """A line of the table: what is measured, the aim, the figure, and whether the aim is met.

    ``holds`` is None, and ``found`` is empty, if there is no figure.
    """

    what: str
    aim: str
    found: str
    holds: bool | None


def aims(report: Report) -> Iterator[Aim]:
    """Yield the aims, the most important ones first."""
    yield from _gate(report)
    yield from _server(report)
    yield from _rivals(report)
    yield from _growth(report)


def _gate(report: Report) -> Iterator[Aim]:
    steps = report.steps("micro")
    ratios = gate_ratios(steps).get(WHOLE)
    yield _at_least("gate: identify + admit + settle, pure Python over native", 20, ratios)
    native = _step(steps, WHOLE, "native")
    what = "gate: identify + admit + settle from Python, 1 k keys, CPU time"
    if native is None:
        yield Aim(what, "≤ 400 ns", "", None)
    else:
        found = middle(native.ns)
        yield Aim(what, "≤ 400 ns", nanoseconds(found), found <= 400)


def _server(report: Report) -> Iterator[Aim]:
    everything = report.row("everything", RSGI)
    what = "server: everything on, CPU over a constant answer that reads the body"
    yield _at_most(what, 1.20, everything.ratio if everything else None)
    if everything:
        worker = [mine / cpu * each for mine, cpu, each in _zipped(everything)]
        what = "server: everything on, CPU without the drainer's over that of a constant answer"
        yield _at_most(what, 1.20, worker)
        yield from _over_others(report, "everything", everything, 1.20)
    refused = report.row("401", RSGI)
    what = "server: a refusal by credential, CPU over a constant answer, body unread"
    yield _at_most(what, 1.15, refused.ratio if refused else None)
    yield from _over_others(report, "401", refused, 1.15)
    forwarded = report.row("provider", FORWARD)
    what = "server: through a local provider, CPU over Granian and the same HTTP client"
    yield _at_most(what, 1.25, forwarded.ratio if forwarded else None)


def _over_others(report: Report, scenario: str, ours: Row | None, aim: float) -> Iterator[Aim]:
    """Yield aims over two other servers that answer a constant.

    One is Granian with the usual time slice, since the base has the one that only ``serve`` asks
    for. The other sends the headers that no handler under the contract can leave out.
    """
    subject = "a refusal by credential" if scenario == "401" else "everything on"
    for server, words in (
        (USUAL, "with the usual time slice"),
        (CONTRACT, "with the contract's headers"),
    ):
        other = report.row(scenario, server)
        if other and ours:
            what = f"server: {subject}, CPU over a constant answer {words}"
            yield _at_most(what, aim, _over(ours, other))


def _zipped(row: Row) -> Iterator[tuple[float, float, float]]:
    return zip(row.worker_us, row.cpu_us, row.ratio, strict=True)


def _rivals(report: Report) -> Iterator[Aim]:
    """Yield aims of requests a second and core: those of NemoRouter over those of a rival."""

    def aim(what: str, least: float, scenario: str, ours: str, theirs: str) -> Aim:
        times = _over(report.row(scenario, theirs), report.row(scenario, ours))
        return _at_least(f"requests a second and core{what}", least, times)

    master = ", authenticated, over LiteLLM (master key, mocked answer)"
    yield aim(master, 100, "authenticate", RSGI, LITELLM)
    yield aim(" with limits, over Envoy (constant answer)", 1, "limits", RSGI, ENVOY)
    yield aim(" through a provider, over Envoy", 1, "provider", FORWARD, PROXIED)
    yield aim(" through a provider, over TensorZero", 1, "provider", FORWARD, TENSORZERO)


def _over(theirs: Row | None, ours: Row | None) -> list[float] | None:
    """Divide the CPU time of a request of ``theirs`` by that of ``ours``, round by round.

    Each is taken over its own base first, since the speed of the machine varies between the two.
    None if one of them was not measured.
    """
    if theirs is None or ours is None:
        return None
    return [one / other for one, other in zip(theirs.ratio, ours.ratio, strict=False)]


def _growth(report: Report) -> Iterator[Aim]:
    sizes = [size for piece in report.pieces for size in piece.sizes]
    few = [size for size in sizes if size.keys == 1_000]
    many = [size for size in sizes if size.keys == 1_000_000]
    if not few or not many:
        yield Aim("growth: a decision at 1 M keys over one at 1 k", "≤ 2", "", None)
        return
    grown = [big.cost_ns / small.cost_ns for big, small in zip(many, few, strict=False)]
    yield _at_most("growth: a decision at 1 M keys over one at 1 k", 2, grown)
    memory = middle(size.bytes_a_key for size in many)
    yield Aim("memory: bytes a key and host at 1 M keys", "≤ 400", number(memory), memory <= 400)
    live = [size.live for size in many if size.live is not None]
    if live:
        load = middle(each.load_s for each in live)
        respawn = middle(each.respawn_s for each in live)
        what = "memory: seconds to load 1 M keys from the store"
        yield Aim(what, "≤ 10", number(load), load <= 10)
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


def _aim(what: str, aim: str, values: list[float] | None, holds: Callable[[float], bool]) -> Aim:
    if not values:
        return Aim(what, aim, "", None)
    found = middle(values)
    digits = 2 if found < 10 else 1
    return Aim(what, aim, f"{found:.{digits}f}× ± {spread(values):.{digits}f}", holds(found))
