"""Turn errors into answers: the contract's error body for programs, a page for people."""

from typing import Final, NamedTuple

import msgspec
from litestar.exceptions import HTTPException

from nemorouter.control import policy
from nemorouter.errors import (
    BodyTimeoutError,
    BusyError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    RefusedError,
    StoreError,
)
from nemorouter.log import get_logger

_log = get_logger(__name__)


class ErrorBody(NamedTuple):
    """Status, and the three fields of the body."""

    status: int
    type: str
    code: str
    message: str


class NotSignedInError(Exception):
    """No credential, or none that is worth anything. ``sent``: there was one."""

    def __init__(self, *, sent: bool = False) -> None:
        super().__init__("not signed in")
        self.sent = sent


class MediaTypeError(Exception):
    """A body that is no JSON by its own account."""


class ForgedError(Exception):
    """A change that did not come from our own pages."""


_KINDS: Final[tuple[tuple[type[Exception], int, str, str], ...]] = (
    (NotFoundError, 404, "not_found_error", "not_found"),
    (ForbiddenError, 403, "permission_error", "not_allowed"),
    (ConflictError, 409, "invalid_request_error", "conflict"),
    (RefusedError, 400, "invalid_request_error", "invalid_request"),
)
_STATUSES: Final = {
    400: ("invalid_request_error", "invalid_request"),
    404: ("not_found_error", "unknown_url"),
    405: ("invalid_request_error", "method_not_allowed"),
    413: ("invalid_request_error", "request_too_large"),
    415: ("invalid_request_error", "unsupported_media_type"),
}


def problem(error: Exception) -> ErrorBody:
    """Describe ``error`` to the caller.

    An error that is not one of ours reveals nothing of its cause.
    """
    for kind, status, type_, code in _KINDS:
        if isinstance(error, kind):
            return ErrorBody(status, type_, code, str(error))
    return _other(error)


def _other(error: Exception) -> ErrorBody:
    match error:
        case NotSignedInError(sent=True):
            return ErrorBody(
                401, "authentication_error", "invalid_api_key", "Invalid API key provided."
            )
        case NotSignedInError():
            text = "Sign in, or send a management key as 'Authorization: Bearer mk-nemo-...'."
            return ErrorBody(401, "authentication_error", "missing_api_key", text)
        case ForgedError():
            return ErrorBody(403, "permission_error", "csrf_failed", str(error))
        case MediaTypeError():
            text = "Send the body as application/json."
            return ErrorBody(415, "invalid_request_error", "unsupported_media_type", text)
        case BusyError(throttled=True):
            return ErrorBody(429, "rate_limit_error", "too_many_attempts", str(error))
        case BodyTimeoutError():
            return ErrorBody(
                408, "invalid_request_error", "request_timeout", "The body did not arrive in time."
            )
        case BusyError():
            return ErrorBody(503, "server_error", "overloaded", str(error))
        case StoreError():
            return ErrorBody(503, "server_error", "not_ready", str(error))
        case HTTPException(status_code=status) if status in _STATUSES:
            return ErrorBody(status, *_STATUSES[status], _http_text(error))
    _log.error("control_failed", reason=type(error).__name__, exc_info=error)
    return ErrorBody(
        500, "server_error", "internal_error", "Internal error. The server's log tells more."
    )


def headers(error: Exception, found: ErrorBody, path: str) -> dict[str, str]:
    """Return the headers that help the client to do better next time."""
    extra: dict[str, str] = {}
    if isinstance(error, BusyError):
        extra["retry-after"] = str(error.retry_s)
    elif isinstance(error, StoreError):
        extra["retry-after"] = "1"
    elif isinstance(error, NotSignedInError):
        extra["www-authenticate"] = 'Bearer realm="nemorouter"' + (
            ', error="invalid_token"' if error.sent else ""
        )
    elif isinstance(error, BodyTimeoutError):
        extra["connection"] = "close"
    elif found.status == 405:
        extra["allow"] = ", ".join(policy.allowed(path))
    return extra


def body(found: ErrorBody) -> bytes:
    return msgspec.json.encode(
        {"error": {"message": found.message, "type": found.type, "code": found.code}}
    )


def _http_text(error: Exception) -> str:
    text = {404: "There is nothing at this URL.", 405: "This method is not allowed for this URL."}
    assert isinstance(error, HTTPException)  # noqa: S101 - the caller matched it
    return text.get(error.status_code) or "The request is not valid."
