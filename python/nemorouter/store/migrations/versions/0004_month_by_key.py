"""Find the months of one key: what it ever spent is a few rows, however long it lives."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_spend_month_key_id"), "spend_month", ["key_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_spend_month_key_id"), table_name="spend_month")
