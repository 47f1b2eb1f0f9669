"""Create the first layout: tenants, keys, budgets, prices, ledger, request log and audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    # PostgreSQL keeps the request log in one table a week, so that old weeks are dropped whole;
    # then the time must be part of the key. It is the same whenever a row comes again.
    partitioned = op.get_bind().dialect.name == "postgresql"
    log_key = ("boot", "seq", "at_ms") if partitioned else ("boot", "seq")
    op.create_table(
        "audit",
        sa.Column("seq", BIG, autoincrement=False, nullable=False),
        sa.Column("at_ms", BIG, nullable=False),
        sa.Column("org_id", BIG, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("source_ip", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_org_id_seq"), "audit", ["org_id", "seq"], unique=False)
    op.create_table(
        "budgets",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("scope_id", BIG, nullable=False),
        sa.Column("max_spend_nano", BIG, nullable=False),
        sa.Column("duration", sa.SmallInteger(), nullable=False),
        sa.Column("created_ms", BIG, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budgets")),
        sa.UniqueConstraint("kind", "scope_id", name=op.f("uq_budgets_kind_scope_id")),
    )
    op.create_table(
        "changes",
        sa.Column("seq", BIG, autoincrement=False, nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("id", BIG, nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_changes")),
    )
    op.create_table(
        "meta",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_meta")),
    )
    op.create_table(
        "orgs",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("rpm", BIG, nullable=True),
        sa.Column("rpm_burst", BIG, nullable=True),
        sa.Column("tpm", BIG, nullable=True),
        sa.Column("tpm_burst", BIG, nullable=True),
        sa.Column("allowed_models", sa.Text(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("version", BIG, server_default="0", nullable=False),
        sa.Column("created_ms", BIG, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_orgs")),
        sa.UniqueConstraint("name", name=op.f("uq_orgs_name")),
    )
    op.create_table(
        "prices",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("input", BIG, nullable=True),
        sa.Column("cached", BIG, nullable=True),
        sa.Column("output", BIG, server_default="0", nullable=False),
        sa.Column("request", BIG, server_default="0", nullable=False),
        sa.Column("max_output", sa.Integer(), server_default="4096", nullable=False),
        sa.Column("version", BIG, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_prices")),
    )
    op.create_table(
        "refusals",
        sa.Column("minute", BIG, nullable=False),
        sa.Column("key_id", BIG, nullable=False),
        sa.Column("code", sa.SmallInteger(), nullable=False),
        sa.Column("count", BIG, nullable=False),
        sa.PrimaryKeyConstraint("minute", "key_id", "code", name=op.f("pk_refusals")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "requests",
        sa.Column("boot", BIG, nullable=False),
        sa.Column("seq", BIG, nullable=False),
        sa.Column("at_ms", BIG, nullable=False),
        sa.Column("key_id", BIG, nullable=False),
        sa.Column("team_id", BIG, nullable=False),
        sa.Column("user_id", BIG, nullable=False),
        sa.Column("org_id", BIG, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.SmallInteger(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("outcome", sa.SmallInteger(), nullable=False),
        sa.Column("stream", sa.SmallInteger(), nullable=False),
        sa.Column("input_tokens", BIG, nullable=False),
        sa.Column("cached_tokens", BIG, nullable=False),
        sa.Column("output_tokens", BIG, nullable=False),
        sa.Column("cost_nano", BIG, nullable=True),
        sa.Column("reserved_nano", BIG, nullable=False),
        sa.Column("latency_us", BIG, nullable=False),
        sa.Column("ttft_us", BIG, nullable=True),
        sa.PrimaryKeyConstraint(*log_key, name=op.f("pk_requests")),
        sqlite_with_rowid=False,
        postgresql_partition_by="RANGE (at_ms)",
    )
    op.create_index(
        op.f("ix_requests_at_ms"), "requests", ["at_ms"], unique=False, postgresql_using="brin"
    )
    op.create_index(op.f("ix_requests_key_id_at_ms"), "requests", ["key_id", "at_ms"], unique=False)
    op.create_index(op.f("ix_requests_org_id_at_ms"), "requests", ["org_id", "at_ms"], unique=False)
    op.create_table(
        "spend_daily",
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("org_id", BIG, nullable=False),
        sa.Column("team_id", BIG, nullable=False),
        sa.Column("user_id", BIG, nullable=False),
        sa.Column("key_id", BIG, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("requests", BIG, server_default="0", nullable=False),
        sa.Column("input_tokens", BIG, server_default="0", nullable=False),
        sa.Column("cached_tokens", BIG, server_default="0", nullable=False),
        sa.Column("output_tokens", BIG, server_default="0", nullable=False),
        sa.Column("cost_nano", BIG, server_default="0", nullable=False),
        sa.Column("unknown_cost", BIG, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint(
            "day", "org_id", "team_id", "user_id", "key_id", "model", name=op.f("pk_spend_daily")
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_spend_daily_key_id_day"), "spend_daily", ["key_id", "day"], unique=False
    )
    op.create_index(
        op.f("ix_spend_daily_org_id_day"), "spend_daily", ["org_id", "day"], unique=False
    )
    op.create_index(
        op.f("ix_spend_daily_team_id_day"), "spend_daily", ["team_id", "day"], unique=False
    )
    op.create_index(
        op.f("ix_spend_daily_user_id_day"), "spend_daily", ["user_id", "day"], unique=False
    )
    op.create_table(
        "teams",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("org_id", BIG, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("rpm", BIG, nullable=True),
        sa.Column("rpm_burst", BIG, nullable=True),
        sa.Column("tpm", BIG, nullable=True),
        sa.Column("tpm_burst", BIG, nullable=True),
        sa.Column("allowed_models", sa.Text(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("version", BIG, server_default="0", nullable=False),
        sa.Column("created_ms", BIG, server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name=op.f("fk_teams_org_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_teams")),
        sa.UniqueConstraint("org_id", "name", name=op.f("uq_teams_org_id_name")),
    )
    op.create_table(
        "users",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("org_id", BIG, nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("status", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("rpm", BIG, nullable=True),
        sa.Column("rpm_burst", BIG, nullable=True),
        sa.Column("tpm", BIG, nullable=True),
        sa.Column("tpm_burst", BIG, nullable=True),
        sa.Column("allowed_models", sa.Text(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("version", BIG, server_default="0", nullable=False),
        sa.Column("created_ms", BIG, server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name=op.f("fk_users_org_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
    )
    op.create_table(
        "keys",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("org_id", BIG, nullable=False),
        sa.Column("team_id", BIG, nullable=False),
        sa.Column("user_id", BIG, nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("pepper_id", sa.Integer(), nullable=False),
        sa.Column("last4", sa.Text(), nullable=False),
        sa.Column("status", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("rpm", BIG, nullable=True),
        sa.Column("rpm_burst", BIG, nullable=True),
        sa.Column("tpm", BIG, nullable=True),
        sa.Column("tpm_burst", BIG, nullable=True),
        sa.Column("allowed_models", sa.Text(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("version", BIG, server_default="0", nullable=False),
        sa.Column("created_ms", BIG, server_default="0", nullable=False),
        sa.Column("allowed_endpoints", BIG, server_default="0", nullable=False),
        sa.Column("allowed_ips", sa.Text(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("expires_ms", BIG, nullable=True),
        sa.Column("created_by", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("last_used_ms", BIG, nullable=True),
        sa.Column("revoked_ms", BIG, nullable=True),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name=op.f("fk_keys_org_id")),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_keys_team_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_keys_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_keys_digest")),
    )
    op.create_index(op.f("ix_keys_org_id"), "keys", ["org_id"], unique=False)
    op.create_index(op.f("ix_keys_team_id"), "keys", ["team_id"], unique=False)
    op.create_index(op.f("ix_keys_user_id"), "keys", ["user_id"], unique=False)
    op.create_table(
        "management_keys",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("org_id", BIG, nullable=False),
        sa.Column("user_id", BIG, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("pepper_id", sa.Integer(), nullable=False),
        sa.Column("last4", sa.Text(), nullable=False),
        sa.Column("status", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("created_ms", BIG, nullable=False),
        sa.Column("last_used_ms", BIG, nullable=True),
        sa.Column("revoked_ms", BIG, nullable=True),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name=op.f("fk_management_keys_org_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_management_keys_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_management_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_management_keys_digest")),
    )
    op.create_index(op.f("ix_management_keys_org_id"), "management_keys", ["org_id"], unique=False)
    op.create_table(
        "memberships",
        sa.Column("org_id", BIG, nullable=False),
        sa.Column("user_id", BIG, nullable=False),
        sa.Column("role", sa.SmallInteger(), nullable=False),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name=op.f("fk_memberships_org_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_memberships_user_id")),
        sa.PrimaryKeyConstraint("org_id", "user_id", name=op.f("pk_memberships")),
    )
    op.create_index(op.f("ix_memberships_user_id"), "memberships", ["user_id"], unique=False)
