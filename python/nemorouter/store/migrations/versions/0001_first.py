"""Create the first layout: scopes, prices, ledger, audit log, control plane and hosts.

The columns stand here in full, since what a migration makes must not change with another file.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
SUMS = ("requests", "input_tokens", "cached_tokens", "output_tokens", "cost_nano", "unknown_cost")


def upgrade() -> None:
    _make_scopes()
    _make_keys()
    _make_prices_and_changes()
    _make_log()
    _make_sums()
    _make_people()
    _make_alerts()
    _make_hosts()


def _make_scopes() -> None:
    _table("meta", _text("key"), _text("value"), key=["key"])
    counted = _big("places_taken", default="0")
    _table("orgs", _id(), _text("name"), *_limits(), counted, unique=["name"])
    _table(
        "teams",
        _id(),
        _ref("teams", "org"),
        _text("name"),
        *_limits(),
        unique=["org_id", "name"],
    )
    _table(
        "users",
        _id(),
        _ref("users", "org"),
        _text("email"),
        _text("name"),
        _text("password_hash", null=True),
        *_limits(),
        _small("operator", null=True),
        unique=["email"],
    )
    _table(
        "memberships",
        _ref("memberships", "org"),
        _ref("memberships", "user"),
        _small("role"),
        key=["org_id", "user_id"],
        indexes=[["user_id"]],
    )
    _table(
        "budgets",
        _id(),
        _small("kind"),
        _big("scope_id"),
        _big("max_spend_nano"),
        _small("duration"),
        _big("created_ms", default="0"),
        unique=["kind", "scope_id"],
    )


def _make_keys() -> None:
    _table(
        "keys",
        _id(),
        _ref("keys", "org"),
        _ref("keys", "team"),
        _ref("keys", "user", null=True),
        _text("name"),
        _bytes("digest"),
        _integer("pepper_id"),
        _text("last4"),
        *_limits(),
        _big("allowed_endpoints", default="0"),
        _text("allowed_ips", default="[]"),
        _big("expires_ms", null=True),
        _text("created_by", default=""),
        _big("last_used_ms", null=True),
        _big("revoked_ms", null=True),
        unique=["digest"],
        indexes=[
            ["org_id", "id", "name", "last4"],
            ["org_id", "status"],
            ["team_id"],
            ["user_id"],
        ],
    )
    _table(
        "management_keys",
        _id(),
        _ref("management_keys", "org"),
        _ref("management_keys", "user"),
        _text("name"),
        _bytes("digest"),
        _integer("pepper_id"),
        _text("last4"),
        _small("status", default="1"),
        _big("created_ms"),
        _big("last_used_ms", null=True),
        _big("revoked_ms", null=True),
        _small("operator", default="0"),
        unique=["digest"],
        indexes=[["org_id"]],
    )


def _make_prices_and_changes() -> None:
    _table(
        "prices",
        _text("model"),
        _big("input", null=True),
        _big("cached", null=True),
        _big("output", default="0"),
        _big("request", default="0"),
        _integer("max_output", default="4096"),
        _big("version", default="0"),
        key=["model"],
    )
    _table(
        "changes",
        _number("seq"),
        _small("kind"),
        _big("id"),
        _text("model", null=True),
        key=["seq"],
    )
    _table(
        "audit",
        _number("seq"),
        _big("at_ms"),
        _big("org_id"),
        _text("actor"),
        _text("source_ip", default=""),
        _text("action"),
        _text("resource"),
        _text("before", null=True),
        _text("after", null=True),
        _bytes("hash"),
        key=["seq"],
        indexes=[["org_id", "seq"]],
    )


def _make_log() -> None:
    # PostgreSQL keeps the request log in one table a week, so that old weeks are dropped whole;
    # then the time must be part of the key. SQLite keeps it in the order in which it is read.
    partitioned = op.get_bind().dialect.name == "postgresql"
    row = ["journal_id", "seq"]
    by_time = [["key_id", "at_ms"], ["org_id", "at_ms"]]
    _table(
        "requests",
        *(_big(name) for name in ("journal_id", "seq", "at_ms")),
        *(_big(name) for name in ("key_id", "team_id", "user_id", "org_id")),
        *(_text(name) for name in ("model", "upstream")),
        *(_small(name) for name in ("endpoint", "status", "outcome", "stream")),
        *(_big(name) for name in ("input_tokens", "cached_tokens", "output_tokens")),
        _big("cost_nano", null=True),
        _big("reserved_nano"),
        _big("latency_us"),
        _big("ttft_us", null=True),
        key=[*row, "at_ms"] if partitioned else ["org_id", "at_ms", *row],
        indexes=by_time if partitioned else [["key_id", "at_ms", *row]],
        sqlite_with_rowid=False,
        postgresql_partition_by="RANGE (at_ms)",
    )
    if partitioned:
        op.create_index(
            op.f("ix_requests_at_ms"), "requests", ["at_ms"], unique=False, postgresql_using="brin"
        )


def _make_sums() -> None:
    _table(
        "spend_daily",
        _integer("day"),
        *(_big(name) for name in ("org_id", "team_id", "user_id", "key_id")),
        _text("model"),
        *(_big(name, default="0") for name in SUMS),
        key=["day", "org_id", "team_id", "user_id", "key_id", "model"],
        indexes=[["team_id", "day"], ["user_id", "day"], ["org_id", "day"], ["key_id", "day"]],
        sqlite_with_rowid=False,
    )
    _table(
        "spend_scope",
        _small("kind"),
        _big("scope_id"),
        _integer("day"),
        _text("model"),
        *(_big(name, default="0") for name in SUMS),
        key=["kind", "scope_id", "day", "model"],
        sqlite_with_rowid=False,
    )
    _table(
        "spend_month",
        _integer("month"),
        *(_big(name) for name in ("org_id", "key_id")),
        *(_big(name, default="0") for name in ("requests", "cost_nano")),
        key=["month", "org_id", "key_id"],
        indexes=[["org_id", "month", "cost_nano"], ["key_id"]],
        sqlite_with_rowid=False,
    )
    _table(
        "refusals",
        _big("minute"),
        _big("key_id"),
        _small("code"),
        _big("count"),
        key=["minute", "key_id", "code"],
        indexes=[["key_id", "minute"]],
        sqlite_with_rowid=False,
    )


def _make_people() -> None:
    _table(
        "sessions",
        _id(),
        _ref("sessions", "user"),
        _ref("sessions", "org"),
        _bytes("digest"),
        *(_big(name) for name in ("created_ms", "seen_ms", "expires_ms")),
        _text("source_ip", default=""),
        unique=["digest"],
        indexes=[["user_id"]],
    )
    _table(
        "invitations",
        _id(),
        _ref("invitations", "org"),
        _text("email"),
        _small("role"),
        _bytes("digest"),
        _text("invited_by"),
        _big("inviter_id", default="0"),
        *(_big(name) for name in ("created_ms", "expires_ms")),
        *(_big(name, null=True) for name in ("accepted_ms", "revoked_ms")),
        unique=["digest"],
        indexes=[["org_id"]],
    )
    _table(
        "throttles",
        _text("subject"),
        _integer("failures"),
        *(_big(name) for name in ("until_ms", "last_ms")),
        key=["subject"],
        indexes=[["last_ms"]],
    )
    _table(
        "idempotency",
        _big("org_id"),
        *(_text(name) for name in ("actor", "key")),
        _bytes("body_hash"),
        _small("status", null=True),
        _text("answer", null=True),
        _big("created_ms"),
        key=["org_id", "actor", "key"],
        indexes=[["created_ms"]],
    )


def _make_alerts() -> None:
    _table(
        "alerts",
        _id(),
        _big("org_id"),
        _small("kind"),
        _big("scope_id"),
        *(_small(name) for name in ("threshold", "duration")),
        _integer("window_day"),
        *(_big(name) for name in ("spent_nano", "max_spend_nano", "at_ms")),
        unique=["kind", "scope_id", "duration", "window_day", "threshold"],
        indexes=[["org_id", "id"]],
    )
    _table(
        "webhooks",
        _id(),
        _ref("webhooks", "org"),
        *(_text(name) for name in ("url", "salt")),
        _small("status", default="1"),
        _text("created_by"),
        _big("created_ms"),
        indexes=[["org_id"]],
    )
    _table(
        "deliveries",
        _id(),
        _ref("deliveries", "webhook"),
        _ref("deliveries", "alert"),
        _small("state", default="1"),
        _integer("attempts", default="0"),
        _big("next_ms"),
        _small("status", null=True),
        _text("error", default=""),
        indexes=[["state", "next_ms"], ["webhook_id"]],
    )


def _make_hosts() -> None:
    _table("hosts", _id(), _text("name"), _big("seen_ms"), _big("refusal_count", default="0"))
    _table("disconnected_hosts", _id(), _text("name"), _big("applied"), _big("heartbeats"))
    _table(
        "spend_host",
        _small("kind"),
        _big("scope_id"),
        _integer("day"),
        _big("host"),
        _big("cost_nano", default="0"),
        key=["kind", "scope_id", "day", "host"],
        sqlite_with_rowid=False,
    )
    _table(
        "money_leases",
        _small("kind"),
        _big("scope_id"),
        _integer("first_day"),
        *(_big(name) for name in ("host", "granted_nano", "committed_nano")),
        _big("starved_ms", default="0"),
        _big("at_ms"),
        key=["kind", "scope_id", "first_day", "host"],
        indexes=[["host"]],
        sqlite_with_rowid=False,
    )


def _table(
    name: str,
    *columns: sa.Column[Any],
    key: Sequence[str] = ("id",),
    unique: Sequence[str] = (),
    indexes: Sequence[list[str]] = (),
    **options: Any,
) -> None:
    """Create a table with a primary key, at most one unique constraint, and indexes."""
    items: list[sa.schema.SchemaItem] = [
        *columns,
        sa.PrimaryKeyConstraint(*key, name=op.f(f"pk_{name}")),
    ]
    if unique:
        items.append(sa.UniqueConstraint(*unique, name=op.f(f"uq_{name}_{'_'.join(unique)}")))
    op.create_table(name, *items, **options)
    for listed in indexes:
        op.create_index(op.f(f"ix_{name}_{'_'.join(listed)}"), name, listed, unique=False)


def _limits() -> list[sa.Column[Any]]:
    """Make the columns that orgs, teams, users and keys share."""
    return [
        _small("status", default="1"),
        *(_big(name, null=True) for name in ("rpm", "rpm_burst", "tpm", "tpm_burst")),
        _text("allowed_models", default="[]"),
        *(_big(name, default="0") for name in ("version", "first_version", "places", "created_ms")),
    ]


def _id() -> sa.Column[Any]:
    return _number("id")


def _number(name: str) -> sa.Column[Any]:
    return sa.Column(name, BIG, autoincrement=False, nullable=False)


def _ref(table: str, other: str, *, null: bool = False) -> sa.Column[Any]:
    name = f"{other}_id"
    target = sa.ForeignKey(f"{other}s.id", name=op.f(f"fk_{table}_{name}"))
    return sa.Column(name, BIG, target, nullable=null)


def _big(name: str, *, null: bool = False, default: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, BIG, nullable=null, server_default=default)


def _integer(name: str, *, default: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer(), nullable=False, server_default=default)


def _small(name: str, *, null: bool = False, default: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, sa.SmallInteger(), nullable=null, server_default=default)


def _text(name: str, *, null: bool = False, default: str | None = None) -> sa.Column[Any]:
    value = None if default is None else sa.text(f"'{default}'")
    return sa.Column(name, sa.Text(), nullable=null, server_default=value)


def _bytes(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.LargeBinary(), nullable=False)
