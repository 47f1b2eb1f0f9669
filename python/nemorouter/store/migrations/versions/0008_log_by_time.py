"""SQLite's request log in the order in which it is read: a row is written with one index more, in
place of three.

It copies the log in the order of an index that is there, so that nothing is sorted, in one
transaction: whole, or not at all. It needs room for a second copy, which later rows fill again. The
columns stand here as 0001 made them: what a migration makes must not change with another file.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
BY_TIME = ("org_id", "at_ms", "boot", "seq")
BY_KEY = ("key_id", "at_ms", "boot", "seq")
OLD_INDEXES = (("at_ms",), ("key_id", "at_ms"), ("org_id", "at_ms"))


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _copy(BY_TIME, (BY_KEY,))


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _copy(("boot", "seq"), OLD_INDEXES)


def _copy(key: tuple[str, ...], indexes: tuple[tuple[str, ...], ...]) -> None:
    op.create_table(
        "requests_copy",
        *(sa.Column(name, BIG, nullable=False) for name in ("boot", "seq", "at_ms")),
        *(
            sa.Column(name, BIG, nullable=False)
            for name in ("key_id", "team_id", "user_id", "org_id")
        ),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("model", "upstream")),
        *(
            sa.Column(name, sa.SmallInteger(), nullable=False)
            for name in ("endpoint", "status", "outcome", "stream")
        ),
        *(
            sa.Column(name, BIG, nullable=False)
            for name in ("input_tokens", "cached_tokens", "output_tokens")
        ),
        sa.Column("cost_nano", BIG, nullable=True),
        sa.Column("reserved_nano", BIG, nullable=False),
        sa.Column("latency_us", BIG, nullable=False),
        sa.Column("ttft_us", BIG, nullable=True),
        sa.PrimaryKeyConstraint(*key, name=op.f("pk_requests")),
        sqlite_with_rowid=False,
    )
    op.execute(f"INSERT INTO requests_copy SELECT * FROM requests ORDER BY {', '.join(key)}")  # noqa: S608 - constants
    op.drop_table("requests")
    op.rename_table("requests_copy", "requests")
    for columns in indexes:
        op.create_index(
            op.f(f"ix_requests_{'_'.join(columns)}"), "requests", list(columns), unique=False
        )
