"""Sums of a day for orgs, teams and people, sums of a month for keys: what pages and budgets of
many keys need.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
SUMS = ("requests", "input_tokens", "cached_tokens", "output_tokens", "cost_nano", "unknown_cost")
OWNERS = ((1, "org_id"), (2, "team_id"), (3, "user_id"))  # types.Kind


def upgrade() -> None:
    op.create_table(
        "spend_scope",
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("scope_id", BIG, nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        *(sa.Column(name, BIG, server_default="0", nullable=False) for name in SUMS),
        sa.PrimaryKeyConstraint("kind", "scope_id", "day", "model", name=op.f("pk_spend_scope")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "spend_month",
        sa.Column("month", sa.Integer(), nullable=False),
        sa.Column("org_id", BIG, nullable=False),
        sa.Column("key_id", BIG, nullable=False),
        sa.Column("requests", BIG, server_default="0", nullable=False),
        sa.Column("cost_nano", BIG, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("month", "org_id", "key_id", name=op.f("pk_spend_month")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_spend_month_org_id_month_cost_nano"),
        "spend_month",
        ["org_id", "month", "cost_nano"],
        unique=False,
    )
    op.create_index(
        op.f("ix_refusals_key_id_minute"), "refusals", ["key_id", "minute"], unique=False
    )
    _fill()


def _fill() -> None:
    """What was spent before these tables were there."""
    sums = ", ".join(f"sum({name})" for name in SUMS)
    for kind, column in OWNERS:
        op.execute(
            f"INSERT INTO spend_scope SELECT {kind}, {column}, day, model, {sums} "  # noqa: S608 - constants
            f"FROM spend_daily WHERE {column} <> 0 GROUP BY {column}, day, model"
        )
    rows = op.get_bind().execute(sa.text("SELECT DISTINCT day FROM spend_daily")).scalars().all()
    from nemorouter.store.sums import month_of

    by_month: dict[int, list[int]] = {}
    for day in rows:
        by_month.setdefault(month_of(day), []).append(day)
    for month, days in by_month.items():
        op.get_bind().execute(
            sa.text(
                "INSERT INTO spend_month SELECT :month, org_id, key_id, sum(requests), "
                "sum(cost_nano) "
                "FROM spend_daily WHERE day BETWEEN :first AND :last GROUP BY org_id, key_id"
            ),
            {"month": month, "first": min(days), "last": max(days)},
        )


def downgrade() -> None:
    op.drop_index(op.f("ix_refusals_key_id_minute"), table_name="refusals")
    op.drop_table("spend_month")
    op.drop_table("spend_scope")
