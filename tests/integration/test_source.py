"""From where a request comes, behind proxies and on servers that rewrite it."""

from pathlib import Path

import pytest

from tests.support.servers import Host, Server, chat

GATEWAY = "nemorouter.app:app"
HOME = "203.0.113.7"


def status(server: Server, key: str, *hops: str) -> int:
    headers = tuple(("x-forwarded-for", hop) for hop in hops)
    return server.call(body=chat(), key=key, headers=headers).status


@pytest.mark.parametrize("kind", ["rsgi", "asgi", "uvicorn"])
def test_a_hop_is_read_in_every_spelling(tmp_path: Path, kind: str) -> None:
    host = Host(tmp_path, {"trusted_proxies": ("127.0.0.0/8",)})
    key = host.key(allowed_ips=(f"{HOME}/32",))
    arguments = ("--no-proxy-headers",) if kind == "uvicorn" else ()
    with host.serve(kind, GATEWAY, arguments) as server:
        for hop in (HOME, f"{HOME}:41234", f'"{HOME}:41234"', f"::ffff:{HOME}", f"9.9.9.9, {HOME}"):
            assert status(server, key, hop) == 200, hop
        for hop in ("198.51.100.7", f"{HOME}, unknown", f"{HOME}\u00e9", f"{HOME}, 9.9.9.9"):
            assert status(server, key, hop) == 401, hop
        assert status(server, key) == 401, "the proxy itself"


def test_a_forged_address_passes_no_list(tmp_path: Path) -> None:
    """uvicorn believes X-Forwarded-For from this machine; nobody told us to."""
    host = Host(tmp_path)
    key = host.key(allowed_ips=(f"{HOME}/32",))
    with host.serve("uvicorn", GATEWAY) as server:
        for _ in range(2):
            assert status(server, key, HOME) == 401
        assert status(server, host.key("anywhere"), HOME) == 200
        assert server.log.read_text().count("source_address_unknown") == 1


def test_a_server_that_rewrites_is_believed_where_proxies_are_trusted(tmp_path: Path) -> None:
    host = Host(tmp_path, {"trusted_proxies": ("127.0.0.0/8",)})
    key = host.key(allowed_ips=(f"{HOME}/32",))
    with host.serve("uvicorn", GATEWAY) as server:
        assert status(server, key, HOME) == 200
        assert status(server, key, "198.51.100.7") == 401
