"""Read from the request log what scopes with rate limits admitted lately."""

from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter.store.bulk import batches
from nemorouter.types import RATES, Kind

_BATCH: Final = 20_000
_TABLES: Final = {
    Kind.ORG: ("orgs", "id", "org_id"),
    Kind.TEAM: ("teams", "org_id", "team_id"),
    Kind.USER: ("users", "org_id", "user_id"),
    Kind.KEY: ("keys", "org_id", "key_id"),
}
"""Table of each kind of scope, its column of the org, and its column in the request log."""


class Admitted(NamedTuple):
    """Hold what one scope admitted: requests, and tokens of input and output.

    ``digest`` is a key's; other kinds have none.
    """

    kind: Kind
    id: int
    digest: bytes
    requests: int
    tokens: int


async def admitted_since(
    connection: AsyncConnection, period_s: int, since_ms: int
) -> AsyncIterator[list[Admitted]]:
    """Read what was admitted since a time (Unix ms), in batches.

    The scopes are those of orgs in which a scope of that kind has a limit of this period. Of orgs
    without such a limit no row of the log is read.
    """
    for kind in _TABLES:
        async for rows in batches(connection, _query(kind, period_s), since_ms, size=_BATCH):
            yield [
                Admitted(kind, id, bytes(digest[0]) if digest else b"", int(requests), int(tokens))
                for id, requests, tokens, *digest in rows
            ]


def _query(kind: Kind, period_s: int) -> str:
    table, org, column = _TABLES[kind]
    limits = [rate.name for rate in RATES if rate.period_s == period_s]
    limited = " OR ".join(f"{limit} IS NOT NULL" for limit in limits)
    digest, keys = (", k.digest", "JOIN keys AS k ON k.id = a.id") if kind is Kind.KEY else ("", "")
    return (
        f"SELECT a.id, a.requests, a.tokens{digest} FROM ("  # noqa: S608 - constants
        f"SELECT {column} AS id, count(*) AS requests, "
        "sum(input_tokens + output_tokens) AS tokens FROM requests "
        f"WHERE org_id IN (SELECT {org} FROM {table} WHERE {limited}) "
        f"AND at_ms >= ? GROUP BY {column}) AS a {keys}"
    )
