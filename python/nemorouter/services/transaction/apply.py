"""Hand a committed change to those who apply it: this host, then all others."""

from nemorouter.datadir.paths import DataDir
from nemorouter.errors import NemoError, StoreError
from nemorouter.settings import Settings
from nemorouter.store.engine import Store


async def apply(settings: Settings, store: Store, changes: range = range(0)) -> None:
    """Return when every worker of every host applies ``changes`` (empty: all that the store holds).

    StoreError: they are saved, but not in force everywhere yet.
    """
    if DataDir(
        settings.data_dir
    ).serve_lock.exists():  # else no server ever ran here, so there is no arena
        await _apply_here(settings, store, changes)
    if settings.redis_url is not None:
        # It imports Redis's client: only where there are other hosts.
        from nemorouter.cluster.membership import propagation

        try:
            await propagation.wait_until_applied(settings, store, changes[-1] if changes else 0)
        except (NemoError, OSError) as error:
            raise StoreError(
                "The change is saved, but it is not certain yet that every host applies it: "
                f"{error}"
            ) from error


async def _apply_here(settings: Settings, store: Store, changes: range) -> None:
    # It imports the native module: only where there may be an arena.
    from nemorouter.arena import attach

    try:
        await attach.catch_up_if_live(settings, store, changes)
    except (NemoError, OSError, MemoryError, ValueError) as error:
        raise StoreError(
            f"The change is saved, but a running server does not apply it yet: {error} "
            "It stays queued, and the server tries again by itself."
        ) from error
