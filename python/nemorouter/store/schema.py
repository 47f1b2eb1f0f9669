"""Tables of the store, and the number of their layout. A change here goes with a migration; a test compares both.

Numbers are those of ``types``; times are Unix milliseconds; money is nano-USD.
In ``requests`` and ``spend_daily`` the user id 0 means none.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.sql.schema import SchemaItem

SCHEMA_VERSION: Final = 3
"""Number of the newest migration: what this program reads and writes."""

PRICE_CHANGE: Final = 0
"""``changes.kind`` of a price; other kinds are ``types.Kind``. ``changes.model`` names the price."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)

_Big = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER PRIMARY KEY is SQLite's row number


def _big(name: str, *, null: bool = False, zero: bool = False) -> Column[int]:
    return Column(name, _Big, nullable=null, server_default="0" if zero else None)


def _ref(table: str, *, null: bool = False) -> Column[int]:
    return Column(f"{table}_id", _Big, ForeignKey(f"{table}s.id"), nullable=null)


def _text(name: str, *, null: bool = False, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=null, server_default=None if default is None else text(f"'{default}'"))


def _id() -> Column[int]:
    return Column("id", _Big, primary_key=True, autoincrement=False)


def _limits() -> list[SchemaItem]:
    """Columns that orgs, teams, users and keys share: state, limits, what may be used, and the policy's version."""
    return [
        Column("status", SmallInteger, nullable=False, server_default="1"),
        _big("rpm", null=True),
        _big("rpm_burst", null=True),
        _big("tpm", null=True),
        _big("tpm_burst", null=True),
        _text("allowed_models", default="[]"),  # JSON
        _big("version", zero=True),
        _big("created_ms", zero=True),
    ]


meta = Table("meta", metadata, Column("key", Text, primary_key=True), _text("value"))
"""``install`` (32 hex), ``change_seq``, ``pepper.<id>`` (fingerprint)."""

changes = Table(
    "changes",
    metadata,
    Column("seq", _Big, primary_key=True, autoincrement=False),
    Column("kind", SmallInteger, nullable=False),
    _big("id"),
    _text("model", null=True),
)
"""What changed for the request path, in order; ``snapshot`` applies it to the arena."""

orgs = Table("orgs", metadata, _id(), _text("name"), *_limits(), UniqueConstraint("name"))

teams = Table("teams", metadata, _id(), _ref("org"), _text("name"), *_limits(), UniqueConstraint("org_id", "name"))
"""Each org has a team ``Default``, for keys that name none."""

users = Table(
    "users",
    metadata,
    _id(),
    _ref("org"),  # the org whose budget and limits the person's keys share
    _text("email"),
    _text("name"),
    _text("password_hash", null=True),
    *_limits(),
    UniqueConstraint("email"),
)

memberships = Table(
    "memberships",
    metadata,
    _ref("org"),
    _ref("user"),
    Column("role", SmallInteger, nullable=False),  # roles.Role
    PrimaryKeyConstraint("org_id", "user_id"),
    Index(None, "user_id"),
)

keys = Table(
    "keys",
    metadata,
    _id(),
    _ref("org"),
    _ref("team"),
    _ref("user", null=True),
    _text("name"),
    Column("digest", LargeBinary, nullable=False),
    Column("pepper_id", Integer, nullable=False),
    _text("last4"),
    *_limits(),
    _big("allowed_endpoints", zero=True),  # bit mask over types.Endpoint
    _text("allowed_ips", default="[]"),  # JSON
    _big("expires_ms", null=True),
    _text("created_by", default=""),
    _big("last_used_ms", null=True),
    _big("revoked_ms", null=True),
    UniqueConstraint("digest"),
    Index(None, "org_id"),
    Index(None, "team_id"),
    Index(None, "user_id"),
)

budgets = Table(
    "budgets",
    metadata,
    _id(),
    Column("kind", SmallInteger, nullable=False),
    _big("scope_id"),
    _big("max_spend_nano"),
    Column("duration", SmallInteger, nullable=False),
    _big("created_ms", zero=True),
    UniqueConstraint("kind", "scope_id"),
)
"""At most one a scope; a change of it is a change of its scope."""

management_keys = Table(
    "management_keys",
    metadata,
    _id(),
    _ref("org"),
    _ref("user"),
    _text("name"),
    Column("digest", LargeBinary, nullable=False),
    Column("pepper_id", Integer, nullable=False),
    _text("last4"),
    Column("status", SmallInteger, nullable=False, server_default="1"),
    _big("created_ms"),
    _big("last_used_ms", null=True),
    _big("revoked_ms", null=True),
    UniqueConstraint("digest"),
    Index(None, "org_id"),
)

prices = Table(
    "prices",
    metadata,
    Column("model", Text, primary_key=True),
    _big("input", null=True),  # nano-USD for a million tokens; NULL = no price known
    _big("cached", null=True),  # NULL = as input
    _big("output", zero=True),
    _big("request", zero=True),
    Column("max_output", Integer, nullable=False, server_default="4096"),
    _big("version", zero=True),
)

requests = Table(
    "requests",
    metadata,
    _big("boot"),
    _big("seq"),
    _big("at_ms"),
    _big("key_id"),
    _big("team_id"),
    _big("user_id"),
    _big("org_id"),
    _text("model"),
    _text("upstream"),
    Column("endpoint", SmallInteger, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("outcome", SmallInteger, nullable=False),
    Column("stream", SmallInteger, nullable=False),
    _big("input_tokens"),
    _big("cached_tokens"),
    _big("output_tokens"),
    _big("cost_nano", null=True),
    _big("reserved_nano"),
    _big("latency_us"),
    _big("ttft_us", null=True),
    PrimaryKeyConstraint("boot", "seq"),
    Index(None, "org_id", "at_ms"),
    Index(None, "key_id", "at_ms"),
    Index(None, "at_ms"),
    sqlite_with_rowid=False,
)
"""The request log: one row for each admitted request, kept for ``log_retention_days``."""

spend_daily = Table(
    "spend_daily",
    metadata,
    Column("day", Integer, nullable=False),  # days since 1970-01-01 UTC
    _big("org_id"),
    _big("team_id"),
    _big("user_id"),
    _big("key_id"),
    _text("model"),
    _big("requests", zero=True),
    _big("input_tokens", zero=True),
    _big("cached_tokens", zero=True),
    _big("output_tokens", zero=True),
    _big("cost_nano", zero=True),
    _big("unknown_cost", zero=True),  # requests whose model had no price
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
    _big("scope_id"),
    Column("day", Integer, nullable=False),
    _text("model"),
    _big("requests", zero=True),
    _big("input_tokens", zero=True),
    _big("cached_tokens", zero=True),
    _big("output_tokens", zero=True),
    _big("cost_nano", zero=True),
    _big("unknown_cost", zero=True),
    PrimaryKeyConstraint("kind", "scope_id", "day", "model"),
    sqlite_with_rowid=False,
)
"""The same added up for those who own many keys, so that a total never adds up a hundred thousand rows."""

spend_month = Table(
    "spend_month",
    metadata,
    Column("month", Integer, nullable=False),  # its first day
    _big("org_id"),
    _big("key_id"),
    _big("requests", zero=True),
    _big("cost_nano", zero=True),
    PrimaryKeyConstraint("month", "org_id", "key_id"),
    Index(None, "org_id", "month", "cost_nano"),
    sqlite_with_rowid=False,
)
"""Which keys spend the most."""

refusals = Table(
    "refusals",
    metadata,
    _big("minute"),  # Unix minute
    _big("key_id"),
    Column("code", SmallInteger, nullable=False),  # errors.Code
    _big("count"),
    PrimaryKeyConstraint("minute", "key_id", "code"),
    Index(None, "key_id", "minute"),
    sqlite_with_rowid=False,
)

audit = Table(
    "audit",
    metadata,
    Column("seq", _Big, primary_key=True, autoincrement=False),
    _big("at_ms"),
    _big("org_id"),
    _text("actor"),
    _text("source_ip", default=""),
    _text("action"),
    _text("resource"),
    _text("before", null=True),  # JSON
    _text("after", null=True),  # JSON
    Column("hash", LargeBinary, nullable=False),
    Index(None, "org_id", "seq"),
)
"""Append-only; ``hash`` is a keyed BLAKE3 over the row before and this one."""

sessions = Table(
    "sessions",
    metadata,
    _id(),
    _ref("user"),
    _ref("org"),
    Column("digest", LargeBinary, nullable=False),  # keyed hash of the cookie's value
    _big("created_ms"),
    _big("seen_ms"),
    _big("expires_ms"),  # whatever happens; being idle ends it earlier
    _text("source_ip", default=""),
    UniqueConstraint("digest"),
    Index(None, "user_id"),
)

invitations = Table(
    "invitations",
    metadata,
    _id(),
    _ref("org"),
    _text("email"),
    Column("role", SmallInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),  # keyed hash of the link's token
    _text("invited_by"),
    _big("created_ms"),
    _big("expires_ms"),
    _big("accepted_ms", null=True),
    _big("revoked_ms", null=True),
    UniqueConstraint("digest"),
    Index(None, "org_id"),
)

throttles = Table(
    "throttles",
    metadata,
    Column("subject", Text, primary_key=True),  # keyed hash of an account or a source
    Column("failures", Integer, nullable=False),
    _big("until_ms"),  # nothing is tried before
    _big("last_ms"),
    Index(None, "last_ms"),
)
"""Attempts to sign in, counted before they are judged, so that a crowd of them is counted too."""

idempotency = Table(
    "idempotency",
    metadata,
    _big("org_id"),
    _text("actor"),
    _text("key"),
    Column("body_hash", LargeBinary, nullable=False),
    Column("status", SmallInteger, nullable=True),  # NULL: begun
    _text("answer", null=True),  # JSON, without any secret
    _big("created_ms"),
    PrimaryKeyConstraint("org_id", "actor", "key"),
    Index(None, "created_ms"),
)

alerts = Table(
    "alerts",
    metadata,
    _id(),
    _big("org_id"),
    Column("kind", SmallInteger, nullable=False),
    _big("scope_id"),
    Column("threshold", SmallInteger, nullable=False),  # per cent of the budget
    Column("duration", SmallInteger, nullable=False),
    Column("window_day", Integer, nullable=False),  # first day of the window
    _big("spent_nano"),
    _big("max_spend_nano"),
    _big("at_ms"),
    UniqueConstraint("kind", "scope_id", "duration", "window_day", "threshold"),
    Index(None, "org_id", "id"),
)

webhooks = Table(
    "webhooks",
    metadata,
    _id(),
    _ref("org"),
    _text("url"),
    _text("salt"),  # the signing secret is derived from it, and never stored
    Column("status", SmallInteger, nullable=False, server_default="1"),
    _text("created_by"),
    _big("created_ms"),
    Index(None, "org_id"),
)

deliveries = Table(
    "deliveries",
    metadata,
    _id(),
    _ref("webhook"),
    _ref("alert"),
    Column("state", SmallInteger, nullable=False, server_default="1"),  # 1 waits, 2 delivered, 3 given up
    Column("attempts", Integer, nullable=False, server_default="0"),
    _big("next_ms"),
    Column("status", SmallInteger, nullable=True),  # of the last answer
    _text("error", default=""),
    Index(None, "state", "next_ms"),
    Index(None, "webhook_id"),
)
