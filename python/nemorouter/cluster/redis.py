"""The client of Redis (or Valkey): one way to open it, one way to run a script. It must never wait for long."""

from typing import Any, Final

from redis.asyncio import Redis, from_url
from redis.exceptions import NoScriptError

TIMEOUT_S: Final = 1.0
"""A connection that is silent for longer is given up, and the call is tried over a new one."""


def connect(url: str, *, timeout_s: float | None = TIMEOUT_S) -> "Redis":
    """A client; it connects when it is first used. ``timeout_s`` None: for a subscriber, who waits for long."""
    client: Redis = from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=TIMEOUT_S,
        health_check_interval=0,
        client_name="nemorouter",
    )
    return client


async def run_script(client: Any, sha: str, text: str, *arguments: str | int) -> Any:  # noqa: ANN401 - RESP values
    """A script by its digest, or its text where the server does not know it yet; ``arguments``: 1, a key, and more."""
    try:
        return await client.execute_command("EVALSHA", sha, *arguments)
    except NoScriptError:
        return await client.execute_command("EVAL", text, *arguments)
