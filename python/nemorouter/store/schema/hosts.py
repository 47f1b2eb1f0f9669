"""Tables of many hosts on one store: who they are, what each of them spent, and what it may spend.

Empty in SQLite, which has one host.
"""

from sqlalchemy import Column, Index, Integer, PrimaryKeyConstraint, SmallInteger, Table

from nemorouter.store.schema.columns import big_, id_, metadata, text_

hosts = Table(
    "hosts",
    metadata,
    id_(),  # of the data directory: datadir.host_number
    text_("name"),
    big_("seen_ms"),  # it drained last
    big_(
        "refusal_count", zero=True
    ),  # number of the last refusal counts taken from it, so that they count once
)

disconnected_hosts = Table(
    "disconnected_hosts",
    metadata,
    id_(),  # of the arena, as in Redis's registry
    text_("name"),
    big_("applied"),  # it applies all changes up to here
    big_("heartbeats"),  # how often it read the store since it lost Redis
)
"""Hosts that serve their offline share while they cannot reach Redis, which lists all others."""

spend_host = Table(
    "spend_host",
    metadata,
    Column("kind", SmallInteger, nullable=False),
    big_("scope_id"),
    Column("day", Integer, nullable=False),
    big_("host"),
    big_("cost_nano", zero=True),
    PrimaryKeyConstraint("kind", "scope_id", "day", "host"),
    sqlite_with_rowid=False,
)
"""The spend of each scope through each host.

A host recounts its money words from its own rows.
"""

money_leases = Table(
    "money_leases",
    metadata,
    Column("kind", SmallInteger, nullable=False),
    big_("scope_id"),
    Column("first_day", Integer, nullable=False),  # of the budget's window
    big_("host"),
    big_("granted_nano"),
    big_("committed_nano"),  # of it, when the host came last
    big_("starved_ms", zero=True),  # when it needed more than there was; 0: it did not
    big_("at_ms"),
    PrimaryKeyConstraint("kind", "scope_id", "first_day", "host"),
    Index(None, "host"),
    sqlite_with_rowid=False,
)
"""The grants of each host in a budget's window; see ``cluster.budgets.bank``."""
