"""Runs all load scenarios and writes what was measured as JSON: `python -m benches.load.run --out FILE`.

It must write no path of the machine it ran on.
"""

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from benches.load import floor, wrk
from benches.load.case import Case
from benches.load.growth import growth
from benches.load.measure import Bench
from benches.load.scenarios import FORWARD_RSGI, RSGI, scenarios, start
from benches.report.machine import machine
from nemorouter.bench.client import request
from nemorouter.bench.servers import BODY, CHAT

RATES = (500, 1000, 2000, 4000)


def main() -> None:
    """Parse the arguments, run, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(".benchmarks/load.json"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--only", help="names of scenarios, or latency or growth, separated by commas")
    parser.add_argument("--no-rivals", action="store_true")
    arguments = parser.parse_args()
    if not wrk.have():
        sys.exit("wrk is needed to saturate a server (Debian: apt-get install wrk).")
    only = set(arguments.only.split(",")) if arguments.only else set()
    found = run(arguments.rounds, arguments.seconds, only, rivals=not arguments.no_rivals)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))


def run(rounds: int, seconds: float, only: set[str], *, rivals: bool) -> dict[str, Any]:
    """Everything that ``only`` names; all of it if that is empty."""

    def wanted(name: str) -> bool:
        return not only or name in only

    with tempfile.TemporaryDirectory() as text, ExitStack() as stack:
        bench = Bench(Path(text), stack, say)
        ours = start(bench, Path(text), rivals=rivals)
        measured = [bench.scenario(each, rounds, seconds) for each in scenarios(ours.keys) if wanted(each.name)]
        latency = []
        if wanted("latency"):
            body = request(CHAT, BODY, ours.keys[RSGI].everything)
            forwarded = request(CHAT, BODY, ours.keys[FORWARD_RSGI].everything)
            cases = [
                floor.READ,
                Case("NemoRouter RSGI, everything on", RSGI, (body,)),
                Case("NemoRouter RSGI, local provider", FORWARD_RSGI, (forwarded,)),
            ]
            latency = bench.latency(cases, RATES, seconds, max(1, rounds // 2))
        versions, skipped = bench.versions, bench.skipped
    return {
        "machine": machine(),
        "rounds": rounds,
        "seconds": seconds,
        "connections": wrk.CONNECTIONS,
        "versions": versions,
        "skipped": skipped,
        "scenarios": measured,
        "latency": latency,
        "growth": growth(rounds, seconds, say) if wanted("growth") else {},
    }


def say(text: str) -> None:
    """A line of progress, for people."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
