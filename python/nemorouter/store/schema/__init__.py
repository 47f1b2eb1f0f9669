"""Define the tables of the store, and the number of their layout.

A change here goes with a migration; a test compares both. Numbers are those of ``types``; times are
Unix milliseconds; money is nano-USD. In ``requests`` and ``spend_daily`` the user id 0 means none.
"""

from typing import Final

from nemorouter.store.schema.columns import metadata
from nemorouter.store.schema.control import (
    alerts,
    deliveries,
    idempotency,
    invitations,
    sessions,
    throttles,
    webhooks,
)
from nemorouter.store.schema.core import (
    audit,
    budgets,
    changes,
    keys,
    management_keys,
    memberships,
    meta,
    orgs,
    prices,
    refusals,
    requests,
    spend_daily,
    spend_month,
    spend_scope,
    teams,
    users,
)
from nemorouter.store.schema.hosts import disconnected_hosts, hosts, money_leases, spend_host

SCHEMA_VERSION: Final = 2
"""Number of the newest migration: what this program reads and writes."""

VERSION_TABLE: Final = "schema_version"
"""Table that holds the number of a store's layout in ``version_num``."""

DRAFT_VERSION_TABLE: Final = "alembic_version"
"""Table that held the number in layouts before the first release, which cannot be migrated."""

INSTALLATION: Final = 0
"""``audit.org_id`` of an event about the whole installation, which all orgs see."""

PRICE_CHANGE: Final = 0
"""``changes.kind`` of a price; other kinds are ``types.Kind``. ``changes.model`` names the price.
"""

__all__ = [
    "DRAFT_VERSION_TABLE",
    "INSTALLATION",
    "PRICE_CHANGE",
    "SCHEMA_VERSION",
    "VERSION_TABLE",
    "alerts",
    "audit",
    "budgets",
    "changes",
    "deliveries",
    "disconnected_hosts",
    "hosts",
    "idempotency",
    "invitations",
    "keys",
    "management_keys",
    "memberships",
    "meta",
    "metadata",
    "money_leases",
    "orgs",
    "prices",
    "refusals",
    "requests",
    "sessions",
    "spend_daily",
    "spend_host",
    "spend_month",
    "spend_scope",
    "teams",
    "throttles",
    "users",
    "webhooks",
]
