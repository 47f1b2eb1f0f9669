"""Columns that tables share, and how constraints are named."""

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, MetaData, SmallInteger, Text, text
from sqlalchemy.sql.schema import SchemaItem

from nemorouter.types import RATE_FIELDS

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)

SQLITE_ONLY = {"dialect": "sqlite"}
POSTGRESQL_ONLY = {"dialect": "postgresql"}
"""``info`` of an index that only the migrations of one dialect make."""

BIG = BigInteger().with_variant(
    Integer(), "sqlite"
)  # only INTEGER PRIMARY KEY is SQLite's row number


def big_(name: str, *, null: bool = False, zero: bool = False) -> Column[int]:
    return Column(name, BIG, nullable=null, server_default="0" if zero else None)


def ref_(table: str, *, null: bool = False) -> Column[int]:
    return Column(f"{table}_id", BIG, ForeignKey(f"{table}s.id"), nullable=null)


def text_(name: str, *, null: bool = False, default: str | None = None) -> Column[str]:
    return Column(
        name, Text, nullable=null, server_default=None if default is None else text(f"'{default}'")
    )


def id_() -> Column[int]:
    return Column("id", BIG, primary_key=True, autoincrement=False)


def limits_() -> list[SchemaItem]:
    """Make the columns that orgs, teams, users and keys share.

    They are the status, a limit and a burst for each rate, the allowed models, and the newest and
    the first version of the policy.
    """
    return [
        Column("status", SmallInteger, nullable=False, server_default="1"),
        *(big_(field, null=True) for field in RATE_FIELDS),
        text_("allowed_models", default="[]"),  # JSON
        big_("version", zero=True),
        big_("first_version", zero=True),
        big_("places", zero=True),
        big_("created_ms", zero=True),
    ]
