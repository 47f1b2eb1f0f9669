"""``nemorouter bench``."""

import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nemorouter.cli.output import note, print_json, print_line, print_table
from nemorouter.cli.run import UsageError, fail

if TYPE_CHECKING:
    from nemorouter.bench.quick import Result


def bench(
    *, seconds: float = 120.0, json: Annotated[bool, Parameter(negative="")] = False
) -> int | None:
    """Measure this installation: the gate against pure Python, the server against a bare handler.

    It starts two servers on free ports of this machine, in a temporary folder, and touches no data
    directory of yours.

    Parameters
    ----------
    seconds
        About how long it may take.
    json
        Answer as JSON on stdout.
    """
    if not sys.platform.startswith("linux"):
        return fail(
            "nemorouter bench reads the CPU time of processes as Linux tells it, "
            "and runs only there."
        )
    from nemorouter.bench import quick

    if seconds < quick.LEAST_SECONDS:
        raise UsageError(f"--seconds must be {quick.LEAST_SECONDS:g} or more.")
    try:
        with _progress(quick.steps()) as say:
            result = quick.measure(seconds, say)
    except (AssertionError, OSError, RuntimeError) as error:
        return fail(f"Nothing was measured, for something answered wrongly: {error}")
    if json:
        print_json(result)
    else:
        _report(result)
    return None


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str], None]]:
    """Draw a progress bar on stderr; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        done = -1

        def say(what: str) -> None:
            nonlocal done
            done += 1
            bar.update(task, completed=done, description=f"{what:<44}")

        yield say


def _report(result: "Result") -> None:
    machine = result.machine
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    print_line(
        f"{machine.cpu}, {machine.cores} cores, {machine.kernel}, Python {machine.python}; "
        f"{versions}"
    )
    print_line(
        "Median ± half the distance from the least to the greatest round. "
        "CPU time is the server's own."
    )
    print_line("")
    native, reference = (
        next(step for step in result.gate if step.by == by) for by in ("native", "reference")
    )
    slower = [reference_ns / statistics.median(native.ns) for reference_ns in reference.ns]
    print_table(
        ("ONE DECISION IN MEMORY", "KEYS", "CPU"),
        (
            (step.by, f"{step.keys:,}", f"{statistics.median(step.ns):,.0f} ns")
            for step in result.gate
        ),
    )
    print_line(f"Pure Python takes {_spread(slower)} times as long.")
    print_line("")
    print_table(
        ("A REQUEST", "CPU", "WITHOUT THE DRAINER", "OVER A CONSTANT ANSWER"),
        (
            (
                row.what,
                f"{statistics.median(row.cpu_us):.0f} µs",
                f"{statistics.median(row.worker_us):.0f} µs",
                f"{_spread(row.ratio)} ×",
            )
            for row in result.served
        ),
    )
    print_line("")
    print_table(
        ("LATENCY FROM WHEN IT WAS DUE", "REQUESTS/S", "P50", "P99"),
        (
            (
                row.what,
                f"{row.rate:,}" if row.kept else f"{row.rate:,} (not kept)",
                _ms(row.p50_us),
                _ms(row.p99_us),
            )
            for row in result.latency
        ),
    )
    if result.shared_core:
        note("Server and load had to share the only core: ratios say more than times.")


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ± {(max(values) - min(values)) / 2:.2f}"


def _ms(microseconds: float) -> str:
    return f"{microseconds / 1000:.2f} ms"
