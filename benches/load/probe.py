"""Measure the CPU time of a request under every setting of Granian that may matter.

python -m benches.load.probe [--rounds 5]

``nemorouter.server.serve`` uses the setting that is the cheapest here.
"""

import argparse
import tempfile
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

from benches.load.case import Case, Scenario, Server
from benches.load.fleet import Fleet
from benches.load.floor import FAKE_KEY, ROOT
from benches.load.measure import Bench
from benches.load.ours import Ours
from nemorouter.bench.client import request
from nemorouter.bench.servers import BODY, CHAT, granian, responds

_RSGI: dict[str, list[str]] = {
    "st 2": ["--runtime-threads", "2"],
    "st 1": ["--runtime-threads", "1"],
    "st 3": ["--runtime-threads", "3"],
    "st 4": ["--runtime-threads", "4"],
    "st 8": ["--runtime-threads", "8"],
    "st 2 rust tasks": ["--runtime-threads", "2", "--task-impl", "rust"],
    "mt 1": ["--runtime-threads", "1", "--runtime-mode", "mt"],
    "mt 2": ["--runtime-threads", "2", "--runtime-mode", "mt"],
    "st 2 asyncio loop": ["--runtime-threads", "2", "--loop", "asyncio"],
}
"""Options of Granian, by name; the first is what ``serve`` uses."""


def main() -> None:
    """Measure a constant answer, and the gateway with everything on, under every setting."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        fleet = Fleet(Path(folder), stack, print)
        ours = Ours(Path(folder))
        bench = Bench(fleet, arguments.rounds, arguments.seconds)
        for name, options in _RSGI.items():
            fleet.know(_constant(f"a constant, {name}", options))
            fleet.know(ours.under(f"the gateway, {name}", options))
        constants = [
            Case(f"a constant, {name}", f"a constant, {name}", (request(CHAT, BODY, FAKE_KEY),))
            for name in _RSGI
        ]
        gateways = [
            Case(
                f"the gateway, {name}",
                f"the gateway, {name}",
                (request(CHAT, BODY, key.everything),),
            )
            for name, key in zip(_RSGI, ours.keys.values(), strict=True)
        ]
        for cases in (constants, gateways):
            bench.scenario(Scenario("settings", "Granian's settings", cases[0], cases[1:]))


def _constant(name: str, options: list[str]) -> Server:
    def command(port: int) -> list[str]:
        return granian("nemorouter.bench.constant:app", port, "rsgi", *options)

    return Server(name, version("granian"), command, responds(), lambda _: None, cwd=ROOT)


if __name__ == "__main__":
    main()
