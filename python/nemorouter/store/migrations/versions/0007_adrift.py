"""Hosts that serve a safe share of the limits while they cannot reach Redis."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "adrift",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("applied", BIG, nullable=False),
        sa.Column("beats", BIG, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_adrift")),
    )


def downgrade() -> None:
    op.drop_table("adrift")
