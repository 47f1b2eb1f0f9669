"""Define the tables of the request path: scopes, budgets, prices, the ledger, the audit log."""

from sqlalchemy import (
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

from nemorouter.store.schema.columns import (
    BIG,
    POSTGRESQL_ONLY,
    SQLITE_ONLY,
    big_,
    id_,
    limits_,
    metadata,
    ref_,
    text_,
)

meta = Table("meta", metadata, Column("key", Text, primary_key=True), text_("value"))
"""``install`` (32 hex), ``change_seq``, ``pepper.<id>`` (fingerprint)."""

changes = Table(
    "changes",
    metadata,
    Column("seq", BIG, primary_key=True, autoincrement=False),
    Column("kind", SmallInteger, nullable=False),
    big_("id"),
    text_("model", null=True),
)
"""Changes for the request path, in order; ``arena.changes`` applies them to the arena."""

orgs = Table(
    "orgs",
    metadata,
    id_(),
    text_("name"),
    *limits_(),
    big_("places_taken", zero=True),  # by the org, its teams, people and keys, all ever made
    UniqueConstraint("name"),
)

teams = Table(
    "teams",
    metadata,
    id_(),
    ref_("org"),
    text_("name"),
    *limits_(),
    UniqueConstraint("org_id", "name"),
)
"""Each org has a team ``Default``, for keys that name none."""

users = Table(
    "users",
    metadata,
    id_(),
    ref_("org"),  # the org whose budget and limits the person's keys share
    text_("email"),
    text_("name"),
    text_("password_hash", null=True),
    *limits_(),
    Column("operator", SmallInteger, nullable=True),  # NULL: an owner of the first org is one
    UniqueConstraint("email"),
)

memberships = Table(
    "memberships",
    metadata,
    ref_("org"),
    ref_("user"),
    Column("role", SmallInteger, nullable=False),  # roles.Role
    PrimaryKeyConstraint("org_id", "user_id"),
    Index(None, "user_id"),
)

keys = Table(
    "keys",
    metadata,
    id_(),
    ref_("org"),
    ref_("team"),
    ref_("user", null=True),
    text_("name"),
    Column("digest", LargeBinary, nullable=False),
    Column("pepper_id", Integer, nullable=False),
    text_("last4"),
    *limits_(),
    big_("allowed_endpoints", zero=True),  # bit mask over types.Endpoint
    text_("allowed_ips", default="[]"),  # JSON
    big_("expires_ms", null=True),
    text_("created_by", default=""),
    big_("last_used_ms", null=True),
    big_("revoked_ms", null=True),
    UniqueConstraint("digest"),
    Index(None, "org_id", "id", "name", "last4"),
    Index(None, "org_id", "status"),
    Index(None, "team_id"),
    Index(None, "user_id"),
)

budgets = Table(
    "budgets",
    metadata,
    id_(),
    Column("kind", SmallInteger, nullable=False),
    big_("scope_id"),
    big_("max_spend_nano"),
    Column("duration", SmallInteger, nullable=False),
    big_("created_ms", zero=True),
    UniqueConstraint("kind", "scope_id"),
)
"""At most one a scope; a change of it is a change of its scope."""

management_keys = Table(
    "management_keys",
    metadata,
    id_(),
    ref_("org"),
    ref_("user"),
    text_("name"),
    Column("digest", LargeBinary, nullable=False),
    Column("pepper_id", Integer, nullable=False),
    text_("last4"),
    Column("status", SmallInteger, nullable=False, server_default="1"),
    big_("created_ms"),
    big_("last_used_ms", null=True),
    big_("revoked_ms", null=True),
    Column("operator", SmallInteger, nullable=False, server_default="0"),
    UniqueConstraint("digest"),
    Index(None, "org_id"),
)

prices = Table(
    "prices",
    metadata,
    Column("model", Text, primary_key=True),
    big_("input", null=True),  # nano-USD for a million tokens; NULL = no price known
    big_("cached", null=True),  # NULL = as input
    big_("output", zero=True),
    big_("request", zero=True),
    Column("max_output", Integer, nullable=False, server_default="4096"),
    big_("version", zero=True),
)

requests = Table(
    "requests",
    metadata,
    big_("journal_id"),
    big_("seq"),
    big_("at_ms"),
    big_("key_id"),
    big_("team_id"),
    big_("user_id"),
    big_("org_id"),
    text_("model"),
    text_("upstream"),
    Column("endpoint", SmallInteger, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("outcome", SmallInteger, nullable=False),
    Column("stream", SmallInteger, nullable=False),
    big_("input_tokens"),
    big_("cached_tokens"),
    big_("output_tokens"),
    big_("cost_nano", null=True),
    big_("reserved_nano"),
    big_("latency_us"),
    big_("ttft_us", null=True),
    PrimaryKeyConstraint("org_id", "at_ms", "journal_id", "seq"),
    Index(None, "key_id", "at_ms", "journal_id", "seq", info=SQLITE_ONLY),
    Index(None, "key_id", "at_ms", info=POSTGRESQL_ONLY),
    Index(None, "org_id", "at_ms", info=POSTGRESQL_ONLY),
    Index(None, "at_ms", postgresql_using="brin", info=POSTGRESQL_ONLY),
    sqlite_with_rowid=False,
    postgresql_partition_by="RANGE (at_ms)",
)
"""The request log: one row for each admitted request, kept for ``log_retention_days``.

(journal_id, seq) is a row's id, and decides alone whether it is there: a ticket's time and org
never change. In SQLite the table lies in the order in which it is read, by org and time, so that a
row costs one more index and not three. In PostgreSQL it is one table a week, with the key
(journal_id, seq, at_ms); see ``store.weeks``.
"""

spend_daily = Table(
    "spend_daily",
    metadata,
    Column("day", Integer, nullable=False),  # days since 1970-01-01 UTC
    big_("org_id"),
    big_("team_id"),
    big_("user_id"),
    big_("key_id"),
    text_("model"),
    big_("requests", zero=True),
    big_("input_tokens", zero=True),
    big_("cached_tokens", zero=True),
    big_("output_tokens", zero=True),
    big_("cost_nano", zero=True),
    big_("unknown_cost", zero=True),  # requests whose model had no price
    PrimaryKeyConstraint("day", "org_id", "team_id", "user_id", "key_id", "model"),
    Index(None, "team_id", "day"),
    Index(None, "user_id", "day"),
    Index(None, "org_id", "day"),
    Index(None, "key_id", "day"),
    sqlite_with_rowid=False,
)
"""The ledger's sums; kept for ever, so retention of the log changes no total."""

spend_scope = Table(
    "spend_scope",
    metadata,
    Column("kind", SmallInteger, nullable=False),  # org, team or user
    big_("scope_id"),
    Column("day", Integer, nullable=False),
    text_("model"),
    big_("requests", zero=True),
    big_("input_tokens", zero=True),
    big_("cached_tokens", zero=True),
    big_("output_tokens", zero=True),
    big_("cost_nano", zero=True),
    big_("unknown_cost", zero=True),
    PrimaryKeyConstraint("kind", "scope_id", "day", "model"),
    sqlite_with_rowid=False,
)
"""The sums of orgs, teams and users, each of whom may own a hundred thousand keys.

A total of ``spend_daily`` would add up a row for each of those.
"""

spend_month = Table(
    "spend_month",
    metadata,
    Column("month", Integer, nullable=False),  # its first day
    big_("org_id"),
    big_("key_id"),
    big_("requests", zero=True),
    big_("cost_nano", zero=True),
    PrimaryKeyConstraint("month", "org_id", "key_id"),
    Index(None, "org_id", "month", "cost_nano"),
    Index(None, "key_id"),
    sqlite_with_rowid=False,
)
"""Sums of a month by key: the keys that spend the most, and what each ever spent."""

refusals = Table(
    "refusals",
    metadata,
    big_("minute"),  # Unix minute
    big_("key_id"),
    Column("code", SmallInteger, nullable=False),  # errors.Code
    big_("count"),
    PrimaryKeyConstraint("minute", "key_id", "code"),
    Index(None, "key_id", "minute"),
    sqlite_with_rowid=False,
)

audit = Table(
    "audit",
    metadata,
    Column("seq", BIG, primary_key=True, autoincrement=False),
    big_("at_ms"),
    big_("org_id"),
    text_("actor"),
    text_("source_ip", default=""),
    text_("action"),
    text_("resource"),
    text_("before", null=True),  # JSON
    text_("after", null=True),  # JSON
    Column("hash", LargeBinary, nullable=False),
    Index(None, "org_id", "seq"),
)
"""Append-only; ``hash`` is a keyed BLAKE3 over the row before and this one."""
