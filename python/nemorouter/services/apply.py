"""The one place where a committed change is handed to the arena of this host."""

from nemorouter.datadir import DataDir
from nemorouter.errors import NemoError, StoreError
from nemorouter.settings import Settings
from nemorouter.store.engine import Store


async def apply(settings: Settings, store: Store) -> None:
    """Returns when every worker of this host obeys what the store holds. StoreError: saved, but not in force yet."""
    if not DataDir(settings.data_dir).serve_lock.exists():
        return  # no server ever ran here, so there is no arena
    from nemorouter import snapshot  # with the native module: only when there may be something to apply to

    try:
        await snapshot.catch_up_if_live(settings, store)
    except (NemoError, OSError, MemoryError, ValueError) as error:
        raise StoreError(
            f"The change is saved, but a running server does not obey it yet: {error} "
            "It stays queued, and the server tries again by itself."
        ) from error
