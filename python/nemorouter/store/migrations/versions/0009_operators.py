"""Operators of the installation, and how many places of the arena each org holds.

``users.operator`` is empty where nobody decided: then the owners of the first org are operators.
Management keys that exist keep what their person may do. Places are counted from what is there.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
COUNT = (
    "UPDATE orgs SET scopes = 1 + (SELECT count(*) FROM keys WHERE keys.org_id = orgs.id) "
    "+ (SELECT count(*) FROM teams WHERE teams.org_id = orgs.id) "
    "+ (SELECT count(*) FROM users WHERE users.org_id = orgs.id)"
)


def upgrade() -> None:
    op.add_column("users", sa.Column("operator", sa.SmallInteger(), nullable=True))
    op.add_column(
        "management_keys",
        sa.Column("operator", sa.SmallInteger(), nullable=False, server_default="0"),
    )
    op.execute("UPDATE management_keys SET operator = 1")
    op.add_column("orgs", sa.Column("scopes", BIG, nullable=False, server_default="0"))
    op.execute(COUNT)


def downgrade() -> None:
    op.drop_column("orgs", "scopes")
    op.drop_column("management_keys", "operator")
    op.drop_column("users", "operator")
