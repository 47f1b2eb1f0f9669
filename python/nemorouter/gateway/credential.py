"""Who asks, and from where: the one Authorization header and the source address. It never keeps the key."""

import ipaddress
from collections.abc import Callable, Sequence
from urllib.parse import unquote_plus

from nemorouter.gateway.wire import Headers, Scope

MALFORMED = "Bearer ?"
"""Stands for a credential that was sent but cannot be right; the gate refuses it as malformed."""


def authorization(scope: Scope) -> str | None:
    """The value of the one Authorization header; None without any; MALFORMED for two, or for a key in the query."""
    query = scope.query_string
    if query and _holds_key(query):
        return MALFORMED
    values = scope.headers.get_all("authorization")
    if len(values) == 1:
        return values[0]
    return MALFORMED if values or "authorization" in scope.headers else None


def _holds_key(query: str) -> bool:
    plain = unquote_plus(query)
    return "sk-nemo-" in plain or "mk-nemo-" in plain


def source(trusted_proxies: Sequence[str]) -> Callable[[Scope], str]:
    """A function that answers a request's source IP; ``X-Forwarded-For`` counts only from ``trusted_proxies``."""
    if not trusted_proxies:
        return peer
    trusted = [ipaddress.ip_network(block) for block in trusted_proxies]

    def is_trusted(address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None)
        return any((mapped or parsed) in network for network in trusted)

    def forwarded(scope: Scope) -> str:
        address = peer(scope)
        if is_trusted(address):
            for hop in reversed(_hops(scope.headers)):
                address = hop
                if not is_trusted(hop):
                    break
        return address

    return forwarded


def peer(scope: Scope) -> str:
    """The address of the socket's other end, without port and brackets."""
    client = scope.client
    return client[: client.rfind(":")] if client[0] != "[" else client[1 : client.rfind("]")]


def _hops(headers: Headers) -> list[str]:
    return [hop.strip() for value in headers.get_all("x-forwarded-for") for hop in value.split(",") if hop.strip()]
