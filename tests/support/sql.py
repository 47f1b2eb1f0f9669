"""Plain SQL for tests, on any store."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, CursorResult, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter.store.policies import policies_of, prices_of
from nemorouter.types import Kind, ModelPrice, Policy


async def sql(
    connection: AsyncConnection, query: str, values: Sequence[Any] = ()
) -> CursorResult[Any]:
    """Run ``query``; a ``?`` in it stands for each of ``values``."""
    names = [f"v{number}" for number in range(len(values))]
    for name in names:
        query = query.replace("?", f":{name}", 1)
    typed = [
        bindparam(name, type_=BigInteger())
        for name, value in zip(names, values, strict=True)
        if _is_int(value)
    ]
    return await connection.execute(
        text(query).bindparams(*typed), dict(zip(names, values, strict=True))
    )


def _is_int(value: object) -> bool:
    return isinstance(value, int)


async def a_policy(connection: AsyncConnection, kind: int, id: int) -> Policy | None:
    """Read the policy of one scope; None if there is none."""
    found = await policies_of(connection, Kind(kind), [id])
    return found[0] if found else None


async def a_price(connection: AsyncConnection, model: str) -> ModelPrice | None:
    """Read the price of one model; None if there is none."""
    found = await prices_of(connection, [model])
    return found[0] if found else None
