"""Define the command line: the overview of its commands, and how the program ends.

A mistake of the user is one line on stderr, never a traceback. Exit codes: 0 done, 1 refused or
failed, 2 bad usage.
"""

import sys
from collections.abc import Sequence

from nemorouter.cli.commands import COMMANDS


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``nemorouter``."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given in ([], ["help"], ["--help"], ["-h"]):
        print(_overview())  # most calls of a newcomer: answered without loading anything
        return
    from nemorouter.cli.run import run

    sys.exit(run(given))


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {about}" for name, (_, about) in COMMANDS.items()]
    return "\n".join(
        [
            "Usage: nemorouter COMMAND [OPTIONS]",
            "",
            "Authentication, rate limits, budgets and a ledger "
            "in front of any OpenAI-compatible API.",
            "",
            "Commands:",
            *lines,
            "",
            "nemorouter COMMAND --help tells more. "
            "Most commands take --data-dir, --config and --json.",
        ]
    )
