"""Plain SQL for tests, on any store."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, CursorResult, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection


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
