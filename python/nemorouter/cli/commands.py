"""The table of commands: where each one is, and what it does. It imports nothing of them."""

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
    "operators": (
        "nemorouter.cli.operators:app",
        "Say who may change what belongs to the whole installation.",
    ),
    "management-keys": (
        "nemorouter.cli.management_keys:app",
        "Create, list and revoke keys of the management API.",
    ),
    "budgets": (
        "nemorouter.cli.budgets:app",
        "Set, clear and list budgets of keys, teams, people and the org.",
    ),
    "prices": ("nemorouter.cli.prices:app", "List, set, delete and import the prices of models."),
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
