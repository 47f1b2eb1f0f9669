"""Search keys by name and list them by status without reading every row."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index(op.f("ix_keys_org_id"), table_name="keys")
    op.create_index(
        op.f("ix_keys_org_id_id_name_last4"),
        "keys",
        ["org_id", "id", "name", "last4"],
        unique=False,
    )
    op.create_index(op.f("ix_keys_org_id_status"), "keys", ["org_id", "status"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_keys_org_id_status"), table_name="keys")
    op.drop_index(op.f("ix_keys_org_id_id_name_last4"), table_name="keys")
    op.create_index(op.f("ix_keys_org_id"), "keys", ["org_id"], unique=False)
