"""Accept changes from our own pages only, by a request's origin and the token of the form."""

import hmac
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from litestar import Request

from nemorouter.control.problems import ForgedError

FIELD: Final = "csrf_token"
HEADER: Final = "x-csrf-token"
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FORM: Final = "application/x-www-form-urlencoded"


def check_origin(request: Request[Any, Any, Any]) -> None:
    """Raise ForgedError if the browser says that another site sent the request.

    A program that sends no such header passes.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        if site != "same-origin":
            raise ForgedError("This request came from another site.")
    elif (
        origin is not None
        and urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower()
    ):
        raise ForgedError("This request came from another site.")


async def check_token(request: Request[Any, Any, Any], expected: str) -> None:
    """ForgedError unless the header or the form field carries the session's token."""
    given = request.headers.get(HEADER)
    if (
        given is None
        and request.headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM
    ):
        given = dict(parse_qsl((await request.body()).decode("latin-1"))).get(FIELD)
    if given is None or not hmac.compare_digest(given.encode(), expected.encode()):
        raise ForgedError(
            "The form is too old, or did not come from this site. "
            "Go back, reload the page and try again."
        )
