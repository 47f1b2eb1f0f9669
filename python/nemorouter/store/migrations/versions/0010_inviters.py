"""Who made an invitation, so that it ends with them. Of those that exist the address says it."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
KNOWN = (
    "UPDATE invitations SET inviter_id = coalesce("
    "(SELECT users.id FROM users WHERE users.email = invitations.invited_by), 0)"
)


def upgrade() -> None:
    op.add_column("invitations", sa.Column("inviter_id", BIG, nullable=False, server_default="0"))
    op.execute(KNOWN)


def downgrade() -> None:
    op.drop_column("invitations", "inviter_id")
