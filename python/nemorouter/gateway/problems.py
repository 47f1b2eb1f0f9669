"""Error answers, ready as bytes at import. None may tell why a key is invalid."""

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from nemorouter.errors import CATALOGUE, Code
from nemorouter.gateway.wire import HeaderList
from nemorouter.log import redact
from nemorouter.types import NANO

if TYPE_CHECKING:
    from nemorouter._core import Refusal

_JSON = ("content-type", "application/json")
_CHALLENGE = ("www-authenticate", 'Bearer realm="nemorouter"')
_INVALID_TOKEN = ("www-authenticate", 'Bearer realm="nemorouter", error="invalid_token"')
_NO_RETRY = ("x-should-retry", "false")
_CENT = NANO // 100


class Answer(NamedTuple):
    """A whole answer: what ``Connection.response_bytes`` takes."""

    status: int
    headers: HeaderList
    body: bytes


class RejectedError(Exception):
    """A stage refuses the request: the code, a message that replaces the catalogue's, or the gate's
    own refusal.
    """

    def __init__(
        self, code: Code, message: str | None = None, *, refusal: "Refusal | None" = None
    ) -> None:
        super().__init__(code)
        self.code = code
        self.message = message
        self.refusal = refusal


def body(code: Code, message: str | None = None) -> bytes:
    """The error body of a code: always ``{"error": {"message", "type", "code"}}``."""
    row = CATALOGUE[code]
    return msgspec.json.encode(
        {"error": {"message": message or row.message, "type": row.type, "code": row.code}}
    )


def _static_headers(code: Code) -> HeaderList:
    status = CATALOGUE[code].status
    if status == 401:
        return [_JSON, _CHALLENGE if code == Code.MISSING_API_KEY else _INVALID_TOKEN]
    if status == 503:
        return [_JSON, ("retry-after", "1")]
    if status == 402:
        return [_JSON, _NO_RETRY]
    return [_JSON]


_READY: tuple[Answer | None, ...] = (
    None,
    *(Answer(CATALOGUE[code].status, _static_headers(code), body(code)) for code in Code),
)


def answer(code: int, message: str | None = None) -> Answer:
    """The answer of a code, with a list of headers that the caller may extend."""
    ready = _READY[code]
    assert ready is not None  # noqa: S101 - codes start at 1
    status, headers, ready_body = ready
    return Answer(
        status, headers.copy(), ready_body if message is None else body(Code(code), message)
    )


def refused(refusal: "Refusal") -> Answer:
    """The answer to a refusal of the gate, with what the client needs to do better next time."""
    code = refusal.code
    if code == Code.BUDGET_EXCEEDED:
        message = f"Budget exceeded. Current spend: {dollars(refusal.used)} / {dollars(refusal.limit)} limit."
        return answer(code, message)
    told = answer(code)
    if told.status == 429:
        wait = refusal.retry_after_us
        if wait is None:
            told.headers.append(_NO_RETRY)
        else:
            seconds, ms = max(1, -(-wait // 1_000_000)), max(1, -(-wait // 1000))
            told.headers.extend((("retry-after", str(seconds)), ("retry-after-ms", str(ms))))
    return told


def dollars(nano: int) -> str:
    """``$500.12``: cents from a dollar on, every digit below it."""
    if nano >= NANO:
        cents = (nano + _CENT // 2) // _CENT
        return f"${cents // 100}.{cents % 100:02d}"
    digits = f"{nano:09d}".rstrip("0").ljust(2, "0")
    return f"$0.{digits}"


def no_such_model(name: str) -> str:
    """What to tell of a model that no upstream serves, or that the key may not know of."""
    return f"The model '{redact(name[:200])}' does not exist."
