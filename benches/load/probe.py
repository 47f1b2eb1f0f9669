"""CPU of a worker per request under every setting of Granian that may matter; what ``nemorouter.serve`` uses won here.

python -m benches.load.probe [--rounds 5]
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
from nemorouter.bench.client import request
from nemorouter.bench.servers import BODY, CHAT, granian, responds

RSGI, ASGI = "nemorouter.bench.constant:app", "benches.load.apps.constant_asgi:app"
SETTINGS: dict[str, tuple[str, str, list[str]]] = {
    "rsgi st": (RSGI, "rsgi", []),
    "rsgi mt": (RSGI, "rsgi", ["--runtime-mode", "mt"]),
    "rsgi st rust tasks": (RSGI, "rsgi", ["--task-impl", "rust"]),
    "rsgi mt rust tasks": (RSGI, "rsgi", ["--runtime-mode", "mt", "--task-impl", "rust"]),
    "rsgi mt 2 threads": (RSGI, "rsgi", ["--runtime-mode", "mt", "--runtime-threads", "2"]),
    "rsgi st asyncio": (RSGI, "rsgi", ["--loop", "asyncio"]),
    "asgi st": (ASGI, "asginl", []),
    "asgi mt": (ASGI, "asginl", ["--runtime-mode", "mt"]),
}


def server(name: str) -> Server:
    """The constant handler that reads the body, under one setting."""
    target, interface, options = SETTINGS[name]
    command = lambda port: granian(target, port, interface, *options)  # noqa: E731 - one argument of four
    return Server(name, version("granian"), command, responds(), lambda _: None, cwd=ROOT)


def main() -> None:
    """One line a setting, compared with the first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1)
    arguments = parser.parse_args()
    payload = request(CHAT, BODY, FAKE_KEY)
    cases = [Case(name, name, (payload,)) for name in SETTINGS]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        fleet = Fleet(Path(folder), stack, print)
        for name in SETTINGS:
            fleet.know(server(name))
        Bench(fleet, arguments.rounds, arguments.seconds).scenario(
            Scenario("settings", "Granian's settings", cases[0], cases[1:])
        )


if __name__ == "__main__":
    main()
