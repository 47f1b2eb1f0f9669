"""The catalogue of refusals, and the exceptions of the package. A leaf.

NemoError
├── ConfigurationError   a setting, file or environment cannot be used
├── RefusedError         an action was refused: not found, not allowed, conflict, bad value
│   ├── NotFoundError
│   ├── ForbiddenError
│   └── ConflictError
├── BusyError            too many at once, or too soon after a failure: try again later
├── BodyTimeoutError     a request's body came too slowly
├── BrokenBodyError      a request's body broke off
├── StoreError           the store cannot be read or written
│   ├── ContentionError  two writers met; trying again will do
│   └── StoreAwayError   the store does not answer; it may come back
└── TicketError          a ticket was ended twice, or never existed
"""

from enum import IntEnum
from typing import NamedTuple


class NemoError(Exception):
    """Base of everything NemoRouter raises on purpose."""


class ConfigurationError(NemoError):
    """A setting, file or environment cannot be used; the message names it and the remedy."""


class RefusedError(NemoError):
    """An action was refused; ``field`` names the input at fault, if one is."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class NotFoundError(RefusedError):
    """No such thing, or none that the caller may see."""


class ForbiddenError(RefusedError):
    """The caller's role does not allow it."""


class ConflictError(RefusedError):
    """Report that a thing exists already, or that its state forbids the action."""


class BusyError(NemoError):
    """Report too many attempts at once, or (``throttled``) too soon after failures.

    Another attempt is worth making after ``retry_s`` seconds.
    """

    def __init__(self, message: str, retry_s: int, *, throttled: bool = False) -> None:
        super().__init__(message)
        self.retry_s = retry_s
        self.throttled = throttled


class BodyTimeoutError(NemoError):
    """Report a request whose body came too slowly, or had to make room for others."""


class BrokenBodyError(NemoError):
    """Report a request whose body broke off before its end."""


class StoreError(NemoError):
    """The store cannot be read or written."""


class ContentionError(StoreError):
    """Report that two writers of the store met, and that this one gave way.

    Nothing was changed; trying again will do.
    """


class StoreAwayError(StoreError):
    """Report that the store does not answer, or accepts no connection now.

    The interrupted write may have been done, or not.
    """


class TicketError(NemoError):
    """Report a ticket that was ended a second time, or that never existed.

    The first end stands; nothing was changed.
    """


def system_reason(error: OSError) -> str:
    """Describe in one line what the system refused, such as a full disk or a missing right."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}."


class Code(IntEnum):
    """Number the reasons of a refusal; the gate answers these numbers.

    The first seven are one answer to the outside.
    """

    MISSING_API_KEY = 1
    KEY_MALFORMED = 2
    KEY_UNKNOWN = 3
    KEY_REVOKED = 4
    KEY_EXPIRED = 5
    KEY_WRONG_IP = 6
    OWNER_DISABLED = 7
    ENDPOINT_NOT_ALLOWED = 8
    MODEL_NOT_ALLOWED = 9
    MODEL_PRICE_UNKNOWN = 10
    RATE_LIMIT_EXCEEDED = 11
    TPM_LIMIT_EXCEEDED = 12
    BUDGET_EXCEEDED = 13
    OVERLOADED = 14  # no free slot: what cannot be recorded is not admitted
    NOT_READY = 15  # a policy is being written or a money word recounted: try again in a moment
    # Decided outside the gate:
    INVALID_JSON = 16
    MISSING_MODEL = 17
    INVALID_REQUEST = 18
    MODEL_NOT_FOUND = 19
    UNKNOWN_URL = 20
    METHOD_NOT_ALLOWED = 21
    REQUEST_TOO_LARGE = 22
    UNSUPPORTED_MEDIA_TYPE = 23
    HEADERS_TOO_LARGE = 24
    INTERNAL_ERROR = 25
    UPSTREAM_FAILED = 26
    UPSTREAM_TIMEOUT = 27
    # Of the gate, between the hosts of a cluster; outside it is "not ready":
    LEASE_WANTED = 28  # a limit shared with other hosts: the agent is asked, ask again in a moment
    # Of the gate:
    RPD_LIMIT_EXCEEDED = 29
    TPD_LIMIT_EXCEEDED = 30
    # Decided outside the gate:
    REQUEST_TIMEOUT = 31
    BACKGROUND_NOT_SUPPORTED = 32


class Problem(NamedTuple):
    """Hold one row of the catalogue: HTTP status and the fields of the error body."""

    status: int
    type: str
    code: str
    message: str


_INVALID_KEY = Problem(401, "authentication_error", "invalid_api_key", "Invalid API key provided.")

CATALOGUE: dict[Code, Problem] = {
    Code.MISSING_API_KEY: Problem(
        401,
        "authentication_error",
        "missing_api_key",
        "No API key provided. Send it as 'Authorization: Bearer sk-nemo-...'.",
    ),
    Code.KEY_MALFORMED: _INVALID_KEY,
    Code.KEY_UNKNOWN: _INVALID_KEY,
    Code.KEY_REVOKED: _INVALID_KEY,
    Code.KEY_EXPIRED: _INVALID_KEY,
    Code.KEY_WRONG_IP: _INVALID_KEY,
    Code.OWNER_DISABLED: _INVALID_KEY,
    Code.ENDPOINT_NOT_ALLOWED: Problem(
        403, "permission_error", "endpoint_not_allowed", "This API key may not call this endpoint."
    ),
    Code.MODEL_NOT_ALLOWED: Problem(
        403,
        "permission_error",
        "model_not_allowed",
        "This API key may not use the requested model.",
    ),
    Code.MODEL_PRICE_UNKNOWN: Problem(
        403,
        "permission_error",
        "model_price_unknown",
        "The requested model has no price, and a budget applies to this API key.",
    ),
    Code.RATE_LIMIT_EXCEEDED: Problem(
        429, "rate_limit_error", "rate_limit_exceeded", "Rate limit reached: requests per minute."
    ),
    Code.TPM_LIMIT_EXCEEDED: Problem(
        429, "rate_limit_error", "tpm_limit_exceeded", "Rate limit reached: tokens per minute."
    ),
    Code.RPD_LIMIT_EXCEEDED: Problem(
        429, "rate_limit_error", "rpd_limit_exceeded", "Rate limit reached: requests per day."
    ),
    Code.TPD_LIMIT_EXCEEDED: Problem(
        429, "rate_limit_error", "tpd_limit_exceeded", "Rate limit reached: tokens per day."
    ),
    Code.BUDGET_EXCEEDED: Problem(402, "budget_error", "budget_exceeded", "Budget exceeded."),
    Code.OVERLOADED: Problem(
        503, "server_error", "overloaded", "The server cannot record more requests now. Retry."
    ),
    Code.NOT_READY: Problem(503, "server_error", "not_ready", "The server is not ready. Retry."),
    Code.INVALID_JSON: Problem(
        400, "invalid_request_error", "invalid_json", "The body is not valid JSON."
    ),
    Code.MISSING_MODEL: Problem(
        400, "invalid_request_error", "missing_model", "You must provide a model parameter."
    ),
    Code.INVALID_REQUEST: Problem(
        400, "invalid_request_error", "invalid_request", "The request is not valid."
    ),
    Code.MODEL_NOT_FOUND: Problem(
        404, "not_found_error", "model_not_found", "The model does not exist."
    ),
    Code.UNKNOWN_URL: Problem(404, "not_found_error", "unknown_url", "Unknown request URL."),
    Code.METHOD_NOT_ALLOWED: Problem(
        405,
        "invalid_request_error",
        "method_not_allowed",
        "This method is not allowed for this URL.",
    ),
    Code.REQUEST_TOO_LARGE: Problem(
        413, "invalid_request_error", "request_too_large", "The body is too large."
    ),
    Code.UNSUPPORTED_MEDIA_TYPE: Problem(
        415,
        "invalid_request_error",
        "unsupported_media_type",
        "Send the body as uncompressed application/json.",
    ),
    Code.HEADERS_TOO_LARGE: Problem(
        431, "invalid_request_error", "headers_too_large", "The request's headers are too large."
    ),
    Code.INTERNAL_ERROR: Problem(500, "server_error", "internal_error", "Internal error."),
    Code.LEASE_WANTED: Problem(503, "server_error", "not_ready", "The server is not ready. Retry."),
    Code.UPSTREAM_FAILED: Problem(
        502, "upstream_error", "upstream_failed", "The upstream failed to answer."
    ),
    Code.UPSTREAM_TIMEOUT: Problem(
        504, "upstream_error", "upstream_timeout", "The upstream did not answer in time."
    ),
    Code.REQUEST_TIMEOUT: Problem(
        408, "invalid_request_error", "request_timeout", "The body did not arrive in time."
    ),
    Code.BACKGROUND_NOT_SUPPORTED: Problem(
        400,
        "invalid_request_error",
        "background_not_supported",
        "Work in the background cannot be settled, and a budget or a limit of tokens applies.",
    ),
}
