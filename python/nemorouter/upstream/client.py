"""Call an OpenAI-compatible provider over HTTP.

The client's key never reaches the provider, and the provider's key never reaches the client.
Connections are pooled, one pool per worker. Redirects and cookies are off. Providers are asked not
to compress; what one compresses all the same is decoded.
Cancelling a call ends it at once if its answer has begun. Before that pyreqwest only stops waiting,
and the connection ends with the first-byte time-out.
"""

import os
from datetime import timedelta
from types import TracebackType
from typing import Final

from pyreqwest.bytes import Bytes
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError, RequestTimeoutError
from pyreqwest.http import HeaderMap, Url
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

from nemorouter._core import (
    FROM_UPSTREAM,
    FROM_UPSTREAM_ERROR,
    is_events,
    looks_like_events,
)
from nemorouter.errors import ConfigurationError
from nemorouter.settings import Settings, UpstreamSettings
from nemorouter.upstream.base import (
    Answer,
    Read,
    Request,
    UpstreamFailedError,
    UpstreamTimeoutError,
)

LARGEST: Final = 256 * 1024 * 1024
"""Bytes of a whole answer that are taken from an upstream; no image request needs more."""
_AT_ONCE: Final = 64 * 1024
"""Bytes of a whole answer that are read together with its head."""


class HttpUpstream:
    """One provider, as the settings name it."""

    instant = None

    def __init__(self, settings: UpstreamSettings, client: Client, *, key: str | None) -> None:
        self.name = settings.name
        self._base = settings.base_url.rstrip("/")
        self._urls: dict[str, Url] = {}  # parsed once
        self._client = client
        self._key = (key or "").encode()

    async def send(self, request: Request) -> Answer:
        """Call the provider; the answer is whole unless it is an event stream."""
        url = self._urls.get(request.path)
        if url is None:
            url = Url(self._base + request.path)
            self._urls[request.path] = url
        builder = self._client.post(url)
        if request.headers:
            builder = builder.headers(request.headers)
        # A stream's first bytes are wanted as they come; a whole answer in one visit to the
        # client's threads.
        builder = builder.body_bytes(request.body).streamed_read_buffer_limit(
            0 if request.stream else _AT_ONCE
        )
        call = builder.build_streamed()
        to_close = False
        try:
            response = await call.__aenter__()
            to_close = True
            status = response.status
            kind = response.get_header("content-type") or ""
            headers = _passed_back(response, status, kind)
            first = None
            if status < 300 and not kind and request.stream:  # what it is, its begin tells
                first = await response.body_reader.read_chunk()
            if status < 300 and (is_events(kind) or (first and looks_like_events(bytes(first)))):
                to_close = False
                if not kind:
                    headers.append(("content-type", "text/event-stream"))
                return Answer(status, headers, chunks=_Stream(call, response, first))
            body = await _whole(response, first)
            to_close = False  # nothing is left of it
            return Answer(status, headers, body if status < 400 else self._without_key(body))
        except RequestTimeoutError as error:
            raise UpstreamTimeoutError(self.name) from error
        except PyreqwestError as error:
            raise UpstreamFailedError(self.name) from error
        finally:
            if to_close:
                await call.__aexit__(None, None, None)

    def _without_key(self, error: bytes) -> bytes:
        """Remove the provider's key from an error text.

        Some providers repeat a key that they refuse.
        """
        return error.replace(self._key, b"...") if self._key else error

    async def close(self) -> None:
        """Close the pool."""
        await self._client.close()


def connect(settings: Settings) -> list[HttpUpstream]:
    """All providers of the settings. Not before a fork: the client's threads would stay behind."""
    check_providers(settings)
    keyed = [(one, _key(one)) for one in settings.upstreams]
    return [HttpUpstream(one, _client(settings, key), key=key) for one, key in keyed]


def check_providers(settings: Settings) -> None:
    """Check the address and the key of each provider.

    ConfigurationError: an address is not a URL, or a key is missing from the environment or does
    not fit into a header.
    """
    for upstream in settings.upstreams:
        where = f"upstreams: {upstream.name!r}"
        try:
            Url(upstream.base_url)
        except ValueError as error:
            raise ConfigurationError(f"{where}: base_url: {error}.") from error
        key = _key(upstream)
        if key == "":
            raise ConfigurationError(
                f"{where} takes its key from {upstream.api_key_env}, which is not set."
            )
        if key and not (key.isascii() and key.isprintable()):
            raise ConfigurationError(
                f"{where} takes its key from {upstream.api_key_env}, which fits into no header."
            )


def _key(upstream: UpstreamSettings) -> str | None:
    """Without the white space around it that files end with."""
    return os.environ.get(upstream.api_key_env, "").strip() if upstream.api_key_env else None


def _client(settings: Settings, key: str | None) -> Client:
    headers = HeaderMap({"content-type": "application/json", "accept-encoding": "identity"})
    if key:
        headers.insert("authorization", f"Bearer {key}", is_sensitive=True)
    builder = ClientBuilder().default_headers(headers).user_agent("nemorouter")
    builder = builder.follow_redirects(False).default_cookie_store(False)
    builder = builder.gzip(True).brotli(True).zstd(True).deflate(True).referer(False).no_proxy()
    builder = builder.connect_timeout(timedelta(seconds=settings.upstream_connect_timeout))
    builder = builder.read_timeout(timedelta(seconds=settings.upstream_first_byte_timeout))
    builder = builder.timeout(timedelta(seconds=settings.upstream_total_timeout))
    return builder.tcp_nodelay(True).build()


def _passed_back(response: Response, status: int, kind: str) -> list[tuple[str, str]]:
    """Select the answer's headers that reach the client.

    Cookies, the organization and the limits of the provider's account are left out.
    """
    headers = [("content-type", kind)] if kind else []
    for name in FROM_UPSTREAM if status < 400 else (*FROM_UPSTREAM, *FROM_UPSTREAM_ERROR):
        value = response.get_header(name)
        if value is not None:
            headers.append((name, value))
    return headers


async def _whole(response: Response, first: Bytes | None) -> bytes:
    """Read the rest of a body that begins with ``first``, if it is no larger than allowed."""
    announced = response.get_header("content-length")
    small = announced is not None and announced.isdecimal() and int(announced) <= LARGEST
    if small and first is None:
        return (await response.bytes()).to_bytes()
    parts = [] if first is None else [first.to_bytes()]
    size = sum(map(len, parts))
    while (chunk := await response.body_reader.read_chunk()) is not None:
        size += len(chunk)
        if size > LARGEST:
            raise UpstreamFailedError("the answer is too large")
        parts.append(chunk.to_bytes())
    return b"".join(parts)


class _Stream:
    """The chunks of a body that has begun."""

    __slots__ = ("_call", "_first", "_read")

    def __init__(self, call: StreamRequest, response: Response, first: Bytes | None) -> None:
        self._call = call
        self._first = first
        self._read = response.body_reader.read_chunk

    async def __aenter__(self) -> Read:
        return self._read if self._first is None else self._from_first

    async def _from_first(self) -> Bytes | None:
        """Give the chunk that was read already, then the others."""
        first = self._first
        self._first = None
        return await self._read() if first is None else first

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        await self._call.__aexit__(None, None, None)
        if isinstance(error, RequestTimeoutError):
            raise UpstreamTimeoutError("the stream did not end in time") from error
        if isinstance(error, PyreqwestError):
            raise UpstreamFailedError("the stream broke off") from error
