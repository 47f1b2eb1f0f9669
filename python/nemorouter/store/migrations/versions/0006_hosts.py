"""Many hosts on one store: who they are, what each spent, what each may spend."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "hosts",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("seen_ms", BIG, nullable=False),
        sa.Column("tallies", BIG, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hosts")),
    )
    op.create_table(
        "spend_host",
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("scope_id", BIG, nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("host", BIG, nullable=False),
        sa.Column("cost_nano", BIG, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("kind", "scope_id", "day", "host", name=op.f("pk_spend_host")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "money_leases",
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("scope_id", BIG, nullable=False),
        sa.Column("first_day", sa.Integer(), nullable=False),
        sa.Column("host", BIG, nullable=False),
        sa.Column("granted_nano", BIG, nullable=False),
        sa.Column("committed_nano", BIG, nullable=False),
        sa.Column("starved_ms", BIG, server_default="0", nullable=False),
        sa.Column("at_ms", BIG, nullable=False),
        sa.PrimaryKeyConstraint(
            "kind", "scope_id", "first_day", "host", name=op.f("pk_money_leases")
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_money_leases_host"), "money_leases", ["host"], unique=False)


def downgrade() -> None:
    op.drop_table("money_leases")
    op.drop_table("spend_host")
    op.drop_table("hosts")
