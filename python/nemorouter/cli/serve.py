"""``nemorouter serve``."""

from nemorouter.cli.run import DEFAULTS, Common


def serve(
    *,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
    capacity: int | None = None,
    durability: str | None = None,
    log_level: str | None = None,
    common: Common = DEFAULTS,
) -> None:
    """Run the gateway; on an empty data directory, set it up first.

    Then it prints a request that works when it is pasted.

    Parameters
    ----------
    host
        Address to listen on (default: 127.0.0.1).
    port
        Port to listen on (default: 8000).
    workers
        Worker processes (default: 1); together they admit what one would.
    capacity
        Room for keys, teams, people and orgs together (default: 1000000).
    durability
        process (default) or commit: hold the end of an answer until its row is on disk.
    log_level
        debug, info (default), warning or error.
    """
    settings = common.settings(
        host=host,
        port=port,
        workers=workers,
        capacity=capacity,
        durability=durability,
        log_level=log_level,
    )
    from nemorouter.server.serve import (
        run,  # the native module and the server: after the settings are known to be good
    )

    run(settings)
