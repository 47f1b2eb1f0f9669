"""The command line: a third face of the services. Here is only the table of commands and what ends
the program.

A mistake of the user is one line on stderr, never a traceback. Exit codes: 0 done, 1 refused or
failed, 2 bad usage.
"""

import sys
from collections.abc import Sequence
from typing import Final

COMMANDS: Final = {
    "serve": (
        "nemorouter.cli.serve:serve",
        "Run the gateway; on an empty data directory, set it up first.",
    ),
    "init": ("nemorouter.cli.init:init", "Set up an org and its owner without starting a server."),
    "keys": (
        "nemorouter.cli.keys:app",
        "Create, list, show, update, duplicate and revoke API keys.",
    ),
    "teams": ("nemorouter.cli.teams:app", "Create, list and update teams."),
    "members": ("nemorouter.cli.members:app", "Add, invite, list, update and remove people."),
    "orgs": ("nemorouter.cli.orgs:app", "Create, list and update the orgs of this installation."),
    "management-keys": (
        "nemorouter.cli.management_keys:app",
        "Create, list and revoke keys of the management API.",
    ),
    "budgets": (
        "nemorouter.cli.budgets:app",
        "Set, clear and list budgets of keys, teams, people and the org.",
    ),
    "prices": ("nemorouter.cli.prices:app", "List, set and import the prices of models."),
    "usage": ("nemorouter.cli.reports:usage", "Requests, tokens and cost by day."),
    "logs": ("nemorouter.cli.reports:logs", "The request log."),
    "audit": ("nemorouter.cli.audit:app", "Check the audit log."),
    "openapi": (
        "nemorouter.cli.openapi:openapi",
        "Print the OpenAPI document of the management API.",
    ),
    "hosts": (
        "nemorouter.cli.hosts:app",
        "List the hosts of an installation, and forget one that is gone.",
    ),
    "db": ("nemorouter.cli.db:app", "Upgrade the store, or say which version it has."),
    "bench": ("nemorouter.cli.bench:bench", "Measure this installation, in two minutes."),
    "doctor": (
        "nemorouter.cli.doctor:doctor",
        "Say what is wrong with a set-up, and how to mend it.",
    ),
}
"""Name: where the command is, and what it does. A module is imported when its command is called."""


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
            "Authentication, rate limits, budgets and a ledger in front of any OpenAI-compatible API.",
            "",
            "Commands:",
            *lines,
            "",
            "nemorouter COMMAND --help tells more. Most commands take --data-dir, --config and --json.",
        ]
    )
