"""From where a request comes, where proxies that are trusted stand in front of us."""

import ipaddress
from collections.abc import Callable, Sequence

from nemorouter.gateway.wire import Headers, Scope

Source = Callable[[Scope, Headers], str]
"""A request's source address."""


def behind(trusted_proxies: Sequence[str]) -> Source | None:
    """How requests are asked; ``X-Forwarded-For`` counts only from ``trusted_proxies``. None
    without any: then it is the socket's other end, which the gate asks for where it needs it.
    """
    if not trusted_proxies:
        return None
    trusted = [ipaddress.ip_network(block) for block in trusted_proxies]

    def is_trusted(address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None)
        return any((mapped or parsed) in network for network in trusted)

    def source(scope: Scope, headers: Headers) -> str:
        address = scope.client.rpartition(":")[0].strip("[]")
        if is_trusted(address):
            for hop in reversed(_hops(headers)):
                address = hop
                if not is_trusted(hop):
                    break
        return address

    return source


def _hops(headers: Headers) -> list[str]:
    return [
        hop.strip()
        for value in headers.get_all("x-forwarded-for")
        for hop in value.split(",")
        if hop.strip()
    ]
