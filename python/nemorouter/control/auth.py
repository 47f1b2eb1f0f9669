"""Identify the caller: a user by cookie, or a program by management key.

The guard of every route does this once a request.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.response import Response

from nemorouter._core import Proxies
from nemorouter.control.problems import NotSignedInError
from nemorouter.errors import RefusedError
from nemorouter.log import get_logger
from nemorouter.roles import Actor
from nemorouter.services.access import sessions
from nemorouter.services.access.sessions import Signed
from nemorouter.services.transaction.context import Context
from nemorouter.settings import Settings

SECURE_COOKIE: Final = "__Host-nemo"
LOCAL_COOKIE: Final = "nemo_session"
_KEY: Final = "nemorouter.signed"
_OF_PROXIES: Final = ("x-forwarded-proto", "x-forwarded-for", "forwarded")
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_log: Final = get_logger(__name__)
AnyConnection = ASGIConnection[Any, Any, Any, Any]


def context_of(connection: AnyConnection) -> Context:
    """Return the store and secrets that the services take."""
    found: Context = connection.app.state.context
    return found


def require(connection: AnyConnection) -> Signed:
    """Return the caller; its ``actor`` is what the services take.

    NotSignedInError: a public route was called without a credential.
    """
    found: Signed | None = connection.scope.get(_KEY)  # type: ignore[assignment]
    if found is None:
        raise NotSignedInError
    return found


def actor_of(connection: AnyConnection) -> Actor:
    """On whose behalf the services act."""
    return require(connection).actor


async def optional(connection: AnyConnection) -> Signed | None:
    """Return the caller if there is one, for public pages."""
    try:
        return await identify(connection)
    except NotSignedInError:
        return None


async def identify(connection: AnyConnection) -> Signed:
    """Identify the caller, and remember it for this request.

    NotSignedInError: no valid credential, or two at once.
    """
    context = context_of(connection)
    address = source_ip(connection)
    given = connection.headers.getall("authorization", [])
    if given:
        scheme, _, secret = given[0].partition(" ")
        found = None
        if len(given) == 1 and scheme.lower() == "bearer":
            found = await sessions.find_management_key(context, secret.strip(), address)
    else:
        token = connection.cookies.get(cookie_name(connection))
        if token is None:
            raise NotSignedInError
        found = await sessions.find(context, token, address)
    if found is None:
        raise NotSignedInError(sent=bool(given))
    connection.scope[_KEY] = found  # type: ignore[typeddict-unknown-key]
    return found


def sign_in(connection: AnyConnection, response: Response[Any], token: str) -> None:
    """Give the browser its session."""
    response.set_cookie(_cookie(connection, token, int(sessions.LIFE_MS / 1000)))


def sign_out(connection: AnyConnection, response: Response[Any]) -> None:
    """Take it away."""
    response.set_cookie(_cookie(connection, "", 0))


def is_secure(connection: AnyConnection) -> bool:
    """Return true if the browser speaks HTTPS, to this server or to a trusted proxy."""
    return speaks_https(connection.scope, _settings(connection))


def speaks_https(scope: Mapping[str, Any], settings: Settings) -> bool:
    """Return true if a request came over HTTPS, to this server or to a trusted proxy."""
    if scope["scheme"] == "https":
        return True
    said = [value for name, value in scope["headers"] if name == b"x-forwarded-proto"]
    return [value.lower() for value in said] == [b"https"] and _from_proxy(scope, settings)


def base_url(connection: AnyConnection) -> str:
    """Return the URL by which browsers reach the server: ``public_url``, or what this one called.

    It ends without a slash.
    """
    settings = _settings(connection)
    if settings.public_url is not None:
        return settings.public_url
    scheme = "https" if is_secure(connection) else "http"
    return f"{scheme}://{connection.headers.get('host', 'localhost')}"


def proxy_hint(connection: AnyConnection) -> str:
    """Return a sentence if a proxy speaks for the browser and is not trusted, which is logged."""
    given = any(name in connection.headers for name in _OF_PROXIES)
    client = connection.scope["client"]
    if not given or client is None or _from_proxy(connection.scope, _settings(connection)):
        return ""
    _warn_of_proxy(client[0])
    return (
        f" A proxy at {client[0]} sends X-Forwarded headers, which are not believed: name it in "
        "trusted_proxies."
    )


@lru_cache(64)
def _warn_of_proxy(peer: str) -> None:
    """Log, once a peer, that a proxy is not trusted."""
    _log.warning("untrusted_proxy", peer=peer, remedy="name it in trusted_proxies")


def require_safe_transport(connection: AnyConnection) -> None:
    """RefusedError where a password would cross a network in the clear."""
    host = connection.headers.get("host", "").rpartition(":")[0] or connection.headers.get(
        "host", ""
    )
    if not is_secure(connection) and host.strip("[]").lower() not in _LOCAL:
        raise RefusedError(
            "Signing in needs HTTPS, except on this machine (localhost). Put a TLS proxy in front."
            + proxy_hint(connection)
        )


def cookie_name(connection: AnyConnection) -> str:
    """Browsers take ``__Host-`` names over HTTPS only."""
    return SECURE_COOKIE if is_secure(connection) else LOCAL_COOKIE


def source_ip(connection: AnyConnection) -> str:
    """Return the client's address, as the gateway finds it; empty if it cannot be known."""
    client = connection.scope["client"]
    peer = client[0] if client is not None else ""
    hops = connection.headers.getall("x-forwarded-for", [])
    return _parsed(_settings(connection).trusted_proxies).source(peer, hops) or ""


def _cookie(connection: AnyConnection, value: str, seconds: int) -> Cookie:
    secure = is_secure(connection)
    return Cookie(
        key=SECURE_COOKIE if secure else LOCAL_COOKIE,
        value=value,
        path="/",
        max_age=seconds,
        secure=secure,
        httponly=True,
        samesite="lax",
    )


def _settings(connection: AnyConnection) -> Settings:
    return context_of(connection).settings


def _from_proxy(scope: Mapping[str, Any], settings: Settings) -> bool:
    client = scope["client"]
    return client is not None and client[0] in _parsed(settings.trusted_proxies)


@lru_cache(1)
def _parsed(blocks: tuple[str, ...]) -> Proxies:
    return Proxies(list(blocks))
