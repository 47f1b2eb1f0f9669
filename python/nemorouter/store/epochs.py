"""Note in the store the epochs in which Redis first counted the limits of this installation."""

import json
from collections.abc import Sequence
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter.store.schema import meta

_KEY: Final = "first_epochs"


async def note_first_epochs(connection: AsyncConnection, epochs: Sequence[int]) -> list[int]:
    """Note ``epochs`` (by hash tag) if the store knows of none, and return the first it was told.

    ``connection`` writes. The moment of the note does not matter, only that it precedes the first
    token that is lent.
    """
    await connection.execute(
        text("INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO NOTHING"),
        {"key": _KEY, "value": json.dumps(list(epochs))},
    )
    query = select(meta.c.value).where(meta.c.key == _KEY)
    return [int(epoch) for epoch in json.loads((await connection.execute(query)).scalar_one())]
