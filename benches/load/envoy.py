"""Configure Envoy: API keys, and a local rate limit with one descriptor for each key.

A constant answer or the local provider is behind it. Envoy counts requests only: no tokens, no
money, no log. The buffer filter comes first, since without it Envoy refuses before it has read the
body, and closes the connection.
"""

from pathlib import Path
from typing import Any

from benches.load.case import Server
from benches.load.rivals import environment, version, write_json
from nemorouter.bench.client import ask, request
from nemorouter.bench.servers import BODY, CHAT, UNKNOWN_KEY, responds

KEYS = {name: f"sk-nemo-{name:a>20}" for name in ("free", "limited", "five", "none")}
_CONSTANT = '{"id":"chatcmpl-0","object":"chat.completion","choices":[]}'
_FILTERS = "type.googleapis.com/envoy.extensions.filters.http"
_NETWORK = "type.googleapis.com/envoy.extensions.filters.network"
_FOR_EVER = "86400s"


def envoy(folder: Path, upstream_port: int = 0) -> Server:
    """Make Envoy with a constant answer, or in front of the local provider on ``upstream_port``."""
    binary = next(environment("envoy").parent.glob("lib/*/site-packages/envoy/_bin/envoy"))
    name = "Envoy, proxied" if upstream_port else "Envoy"
    number = 41 if upstream_port else 40

    def command(port: int) -> list[str]:
        file = write_json(folder / f"envoy-{port}.json", config(port, upstream_port))
        options = f"--concurrency 1 --base-id {number} --disable-hot-restart --log-level error"
        return [str(binary), "-c", str(file), *options.split()]

    return Server(name, version("envoy"), command, responds(), check)


def check(port: int) -> None:
    """Check that keys are known or refused, and that a limit of five admits five."""

    def status(key: str) -> int:
        return ask(port, request(CHAT, BODY, key)).status

    assert status(KEYS["free"]) == 200
    assert status(KEYS["limited"]) == 200
    five = [status(KEYS["five"]) for _ in range(7)]
    assert five == [200] * 5 + [429] * 2, five
    assert [status(KEYS["none"]) for _ in range(2)] == [200, 429]
    assert status(UNKNOWN_KEY) == 401


def config(port: int, upstream_port: int) -> dict[str, Any]:
    """Return Envoy's bootstrap configuration."""
    action: dict[str, Any] = {
        "direct_response": {"status": 200, "body": {"inline_string": _CONSTANT}}
    }
    if upstream_port:
        action = {"route": {"cluster": "local"}}
    route = {
        "match": {"prefix": "/"},
        **action,
        "response_headers_to_add": [
            {"header": {"key": "content-type", "value": "application/json"}}
        ],
    }
    host = {"name": "all", "domains": ["*"], "routes": [route]}
    manager = {
        "@type": f"{_NETWORK}.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "generate_request_id": False,
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [
            _filter("buffer", "buffer.v3.Buffer", {"max_request_bytes": 20 << 20}),
            _filter("api_key_auth", "api_key_auth.v3.ApiKeyAuth", _keys()),
            _filter("local_ratelimit", "local_ratelimit.v3.LocalRateLimit", _limits()),
            _filter("router", "router.v3.Router", {}),
        ],
    }
    chain = {
        "filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
        ]
    }
    listener = {"name": "front", "address": _address(port), "filter_chains": [chain]}
    resources: dict[str, Any] = {"listeners": [listener], "clusters": []}
    if upstream_port:
        endpoint = {"lb_endpoints": [{"endpoint": {"address": _address(upstream_port)}}]}
        load = {"cluster_name": "local", "endpoints": [endpoint]}
        resources["clusters"] = [{"name": "local", "type": "STATIC", "load_assignment": load}]
    return {"static_resources": resources}


def _keys() -> dict[str, Any]:
    return {
        "credentials": [{"key": key, "client": name} for name, key in KEYS.items()],
        "key_sources": [{"header": "authorization"}],
        "forwarding": {"header": "x-client", "hide_credentials": True},
    }


def _limits() -> dict[str, Any]:
    most = (1 << 32) - 1
    rooms = {"free": most, "limited": most, "five": 5, "none": 1}
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    per_client = {"request_headers": {"header_name": "x-client", "descriptor_key": "client"}}
    return {
        "stat_prefix": "limit",
        "rate_limits": [{"actions": [per_client]}],
        "token_bucket": _bucket(most),
        "filter_enabled": always,
        "filter_enforced": always,
        "always_consume_default_token_bucket": False,
        "descriptors": [
            {"entries": [{"key": "client", "value": name}], "token_bucket": _bucket(room)}
            for name, room in rooms.items()
            if name != "free"
        ],
    }


def _bucket(tokens: int) -> dict[str, Any]:
    return {"max_tokens": tokens, "tokens_per_fill": tokens, "fill_interval": _FOR_EVER}


def _filter(name: str, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": f"envoy.filters.http.{name}",
        "typed_config": {"@type": f"{_FILTERS}.{kind}", **fields},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
