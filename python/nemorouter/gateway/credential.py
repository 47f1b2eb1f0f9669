"""Who asks, and from where: the one Authorization header and the source address. It never keeps the key."""

import ipaddress
from collections.abc import Callable, Sequence

from nemorouter._core import credentials
from nemorouter.gateway.wire import Headers, Scope

Credentials = Callable[[Scope, Headers], tuple[str | None, str]]
"""A request's Authorization value (None without any) and its source IP."""


def read_credentials(trusted_proxies: Sequence[str]) -> Credentials:
    """How requests are asked; ``X-Forwarded-For`` counts only from ``trusted_proxies``."""
    if not trusted_proxies:
        return credentials
    trusted = [ipaddress.ip_network(block) for block in trusted_proxies]

    def is_trusted(address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None)
        return any((mapped or parsed) in network for network in trusted)

    def forwarded(scope: Scope, headers: Headers) -> tuple[str | None, str]:
        authorization, address = credentials(scope, headers)
        if is_trusted(address):
            for hop in reversed(_hops(headers)):
                address = hop
                if not is_trusted(hop):
                    break
        return authorization, address

    return forwarded


def _hops(headers: Headers) -> list[str]:
    return [hop.strip() for value in headers.get_all("x-forwarded-for") for hop in value.split(",") if hop.strip()]
