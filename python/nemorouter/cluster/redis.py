"""Open clients of Redis or Valkey, and run scripts there. No call waits for long.

``redis://host:port/0`` and ``rediss://`` lead to one server,
``redis+sentinel://host:port,host:port/service`` to the master that the sentinels name,
``redis+cluster://host:port,host:port`` to a Redis Cluster.
"""

from typing import Any, Final
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis, from_url
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import NoScriptError

TIMEOUT_S: Final = 1.0
"""A connection that is silent for longer is given up, and the call is tried over a new one."""
_PORTS: Final = {"sentinel": 26_379, "cluster": 6_379}


def connect(url: str, *, timeout_s: float | None = TIMEOUT_S) -> Any:  # noqa: ANN401 - Redis or RedisCluster
    """Make a client, which connects when it is first used.

    ``timeout_s`` None is for a subscriber, which waits for long.
    """
    options: dict[str, Any] = {"socket_timeout": timeout_s, "socket_connect_timeout": TIMEOUT_S}
    scheme = urlsplit(url).scheme
    if "+sentinel" in scheme:
        return _sentinel(url, options)
    if "+cluster" in scheme:
        return _cluster(url, options)
    client: Redis = from_url(url, health_check_interval=0, client_name="nemorouter", **options)
    return client


class _Master(Redis):
    """The client of the master that the sentinels name; it closes their connections too."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        pool: Any = self.connection_pool
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def _sentinel(url: str, options: dict[str, Any]) -> Redis:
    parts = urlsplit(url)
    service, _, database = parts.path.strip("/").partition("/")
    options |= _credentials(url)
    quick = {"socket_timeout": TIMEOUT_S}
    sentinels = Sentinel(_addresses(url, "sentinel"), sentinel_kwargs=quick, **options)  # type: ignore[no-untyped-call]
    master: Redis = sentinels.master_for(
        service or "mymaster", redis_class=_Master, db=int(database or 0)
    )
    return master


def _cluster(url: str, options: dict[str, Any]) -> "Redis | RedisCluster":
    """Make a client of a Redis Cluster; for a subscriber, a client of one node.

    What is published at any node is received at all of them.
    """
    nodes = _addresses(url, "cluster")
    if options["socket_timeout"] is None:
        return Redis(host=nodes[0][0], port=nodes[0][1], **options, **_credentials(url))
    startup = [ClusterNode(host, port) for host, port in nodes]
    return RedisCluster(startup_nodes=startup, **options, **_credentials(url))


def _addresses(url: str, kind: str) -> list[tuple[str, int]]:
    hosts = urlsplit(url).netloc.rpartition("@")[2].split(",")
    found = [host.rpartition(":") if ":" in host else (host, ":", "") for host in hosts]
    return [(host, int(port or _PORTS[kind])) for host, _, port in found]


def _credentials(url: str) -> dict[str, Any]:
    name, _, password = urlsplit(url).netloc.rpartition("@")[0].partition(":")
    given = {"username": unquote(name) or None, "password": unquote(password) or None}
    return given | ({"ssl": True} if urlsplit(url).scheme.startswith("rediss") else {})


async def run_script(client: Any, sha: str, text: str, *arguments: str | int) -> Any:  # noqa: ANN401 - RESP values
    """Run a script by its digest, or by its text where the server does not know it yet.

    ``arguments`` are the number of keys, the keys, and the script's own arguments.
    """
    try:
        return await client.execute_command("EVALSHA", sha, *arguments)
    except NoScriptError:
        return await client.execute_command("EVAL", text, *arguments)
