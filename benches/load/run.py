"""Measure whole servers, piece by piece, and write each piece into a file of its own.

python -m benches.load.run --into FOLDER [--only PIECE,PIECE]

A piece is a scenario, a growth, or the latency at fixed rates. With ``--only``, a run can be made
in parts.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from benches.load import envoy, floor, litellm, scenarios, tensorzero, wrk
from benches.load.case import Case, Scenario
from benches.load.fleet import Fleet
from benches.load.growth import GROWTH
from benches.load.measure import Bench
from benches.load.ours import Ours
from benches.report import pieces
from benches.report.pieces import Piece
from benches.report.pool import together
from nemorouter.bench.client import request
from nemorouter.bench.servers import BODY, CHAT

RATES: Final = (50, 500, 1000, 2000, 4000)
LATENCY: Final = "latency"
SCENARIOS: Final = (
    "unread",
    "read",
    "authenticate",
    "limits",
    "everything",
    "429",
    "401",
    "stream",
    "provider",
)
ALL: Final = (*SCENARIOS, LATENCY, *GROWTH)


def main() -> None:
    """Measure with the options of the command line, and write the pieces."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--into", type=Path, default=Path(".benchmarks/run"), help="folder of the run"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds on each set of servers")
    parser.add_argument(
        "--starts",
        type=int,
        default=3,
        help="how often a new set of servers is started for the scenarios",
    )
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--only", help=f"pieces, separated by commas, of: {', '.join(ALL)}")
    parser.add_argument("--no-rivals", action="store_true")
    arguments = parser.parse_args()
    if not wrk.have():
        sys.exit("wrk is needed to saturate a server (Debian: apt-get install wrk).")
    only = arguments.only.split(",") if arguments.only else list(ALL)
    if unknown := set(only) - set(ALL):
        sys.exit(f"No piece is called {', '.join(sorted(unknown))}; there are: {', '.join(ALL)}.")
    # An exit ends the servers; the default action of the signal would leave them running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    found: dict[str, Piece] = {}
    for start in range(arguments.starts):
        again = [name for name in only if name in SCENARIOS or not start]
        for piece in run(
            arguments.rounds, arguments.seconds, again, rivals=not arguments.no_rivals
        ):
            found[piece.name] = together(found[piece.name], piece) if start else piece
            pieces.write(arguments.into, found[piece.name])


def run(rounds: int, seconds: int, only: list[str], *, rivals: bool) -> Iterable[Piece]:
    """Measure the pieces in ``only`` on one set of servers; yield each as soon as it is there."""
    method = {"rounds": rounds, "seconds": seconds, "connections": wrk.CONNECTIONS}
    yield from _on_servers(rounds, seconds, only, method, rivals=rivals)
    for name, growth in GROWTH.items():
        if name in only:
            before = os.sched_getaffinity(0)
            rows = growth.measure(rounds, seconds, say)
            os.sched_setaffinity(0, before)
            yield pieces.new(
                name, "growth", growth.title, method=method, rows=rows, versions=_floor_versions()
            )


def _on_servers(
    rounds: int, seconds: int, only: list[str], method: dict[str, int], *, rivals: bool
) -> Iterable[Piece]:
    if not {LATENCY, *SCENARIOS} & set(only):
        return
    with tempfile.TemporaryDirectory() as text, ExitStack() as stack:
        fleet = Fleet(Path(text), stack, say)
        ours = scenarios.muster(fleet, rivals=rivals)
        bench = Bench(fleet, rounds, seconds)
        for each in scenarios.scenarios(ours.keys):
            if each.name in only:
                rows = bench.scenario(each)
                used = {"base": each.base.name, "rows": rows} | _about(fleet, each)
                yield pieces.new(each.name, "scenario", each.title, method=method, **used)
        if LATENCY in only:
            asked = latency_cases(ours)
            paces = bench.latency(asked.cases, RATES)
            yield pieces.new(
                LATENCY, "latency", asked.title, method=method, paces=paces, **_about(fleet, asked)
            )


def _about(fleet: Fleet, scenario: Scenario) -> dict[str, Any]:
    """Return the versions of the servers that took part, and the reasons why others did not."""
    servers = {case.server for case in (scenario.base, *scenario.cases)}
    names = servers | {case.name for case in scenario.cases}
    return {
        "versions": {name: version for name, version in fleet.versions.items() if name in servers},
        "skipped": {name: reason for name, reason in fleet.skipped.items() if name in names},
    }


def latency_cases(ours: Ours) -> Scenario:
    """Return the cases whose latency is measured at fixed rates."""
    key = ours.keys[scenarios.RSGI].everything
    forwarded = ours.keys[scenarios.FORWARD_RSGI].everything
    cases = [
        floor.READ,
        Case("NemoRouter RSGI, everything on", scenarios.RSGI, (request(CHAT, BODY, key),)),
        Case(
            "NemoRouter RSGI, local provider",
            scenarios.FORWARD_RSGI,
            (request(CHAT, BODY, forwarded),),
        ),
        Case(
            "Envoy, key and local rate limit",
            scenarios.ENVOY,
            (request(CHAT, BODY, envoy.KEYS["limited"]),),
        ),
        Case("TensorZero and its Redis, local provider", scenarios.TENSORZERO, _tensorzero()),
        Case(
            "LiteLLM, master key", scenarios.LITELLM_MASTER, (request(CHAT, BODY, litellm.MASTER),)
        ),
    ]
    title = "Latency at fixed rates, from the instant when each request was due"
    return Scenario(LATENCY, title, floor.READ, cases)


def _tensorzero() -> tuple[bytes, ...]:
    return (request(tensorzero.PATH, tensorzero.body("bench")),)


def _floor_versions() -> dict[str, str]:
    server = floor.rsgi()
    return {server.name: server.version}


def say(text: str) -> None:
    """Print a line of progress to stderr, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
