"""Keep keyed fingerprints of the secrets, so that a wrong one is noticed at the start."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter.datadir.secrets import Pepper, load_peppers, pepper_fingerprint
from nemorouter.errors import ConfigurationError
from nemorouter.settings import Settings
from nemorouter.store.schema import meta

AUDIT_ID: Final = 0
"""The audit key's number among the known_fingerprints; peppers start at 1."""


async def check_peppers(connection: AsyncConnection, settings: Settings) -> list[Pepper]:
    """Return the peppers of ``settings``.

    ConfigurationError: a pepper is missing, unusable, or another store's.
    """
    peppers = load_peppers(settings.pepper_path)
    known = await known_fingerprints(connection)
    compare(
        {id: value for id, value in known.items() if id != AUDIT_ID},
        peppers,
        str(settings.pepper_path),
    )
    return peppers


async def known_fingerprints(connection: AsyncConnection) -> dict[int, str]:
    """Return the known fingerprints by number; none in a store without secrets yet."""
    rows = await connection.execute(
        select(meta.c.key, meta.c.value).where(meta.c.key.like("pepper.%"))
    )
    return {int(key.removeprefix("pepper.")): value for key, value in rows}


def compare(known: dict[int, str], secrets: Sequence[Pepper], path: str) -> None:
    """Check that each secret with a known number is the known one.

    One of the secrets must be known if any fingerprint is.
    """
    for secret in secrets:
        if known.get(secret[0], pepper_fingerprint(secret)) != pepper_fingerprint(secret):
            raise ConfigurationError(
                f"{path} does not belong to this store; restore the file that was made with it."
            )
    if known and not any(id in known for id, _ in secrets):
        raise ConfigurationError(
            f"{path} holds no secret of this store; restore the file that was made with it."
        )


async def remember(
    connection: AsyncConnection, known: dict[int, str], secrets: Sequence[Pepper]
) -> None:
    """Add the known_fingerprints that are not there yet."""
    for secret in secrets:
        if secret[0] not in known:
            await connection.execute(
                meta.insert().values(key=f"pepper.{secret[0]}", value=pepper_fingerprint(secret))
            )
