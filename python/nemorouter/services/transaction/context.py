"""Hold what every service needs: store, settings and secrets, checked against each other."""

from pathlib import Path
from typing import NamedTuple, Self

from nemorouter.datadir.secrets import (
    Pepper,
    create_audit_key,
    create_pepper,
    load_audit_key,
    load_peppers,
)
from nemorouter.settings import PEPPER_NAME, Settings
from nemorouter.store.engine import Store
from nemorouter.store.fingerprints import AUDIT_ID, compare, known_fingerprints, remember


class Context(NamedTuple):
    """An open store with the secrets that belong to it."""

    settings: Settings
    store: Store
    peppers: list[Pepper]
    audit_key: bytes

    @classmethod
    async def open(cls, settings: Settings, *, create: bool = False) -> Self:
        """Open the store of ``settings``; with ``create``, make store and secrets if missing."""
        store = await Store.open(settings, migrate=create)
        try:
            return await cls.attach(store, settings, create=create)
        except BaseException:
            await store.close()
            raise

    @classmethod
    async def attach(cls, store: Store, settings: Settings, *, create: bool = False) -> Self:
        """Make the context on a store that is open already.

        ConfigurationError: a secret is missing, or is not this store's.
        """
        if create:
            await _create_secrets(store, settings)
        peppers = load_peppers(settings.pepper_path)
        audit_path = audit_key_path(settings)
        audit_key = load_audit_key(audit_path)
        async with store.read() as connection:
            known = await known_fingerprints(connection)
        compare(
            {id: value for id, value in known.items() if id != AUDIT_ID},
            peppers,
            str(settings.pepper_path),
        )
        compare(
            {id: known[id] for id in known.keys() & {AUDIT_ID}},
            [(AUDIT_ID, audit_key)],
            str(audit_path),
        )
        every = [*peppers, (AUDIT_ID, audit_key)]
        if any(id not in known for id, _ in every):
            async with store.begin() as connection:
                await remember(connection, await known_fingerprints(connection), every)
        return cls(settings, store, peppers, audit_key)

    async def close(self) -> None:
        await self.store.close()

    def __repr__(self) -> str:
        return f"Context({self.settings!r})"


async def _create_secrets(store: Store, settings: Settings) -> None:
    """Make the files of a store that has none yet; the transaction keeps two first runs apart."""
    async with store.begin() as connection:
        known = await known_fingerprints(connection)
        if not known and not settings.pepper_path.exists():
            create_pepper(settings.pepper_path)
        if AUDIT_ID not in known and not audit_key_path(settings).exists():
            create_audit_key(audit_key_path(settings))


def audit_key_path(settings: Settings) -> Path:
    """Beside the store: who may write the log may not be who holds the peppers."""
    return settings.audit_key_file or settings.data_dir / f"{PEPPER_NAME}.audit"
