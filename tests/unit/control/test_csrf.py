"""Test where a change may come from, and the headers of every answer."""

from typing import Any

import pytest
from litestar import Request, post

from nemorouter.control import csrf
from nemorouter.control.app import HEADERS
from nemorouter.control.policy import MAX_BODY
from nemorouter.control.problems import ForgedError
from tests.unit.control.conftest import Person, Plane


@post("/", request_max_body_size=MAX_BODY)
async def nothing() -> None:
    """Stand for a route, since Litestar asks it how long a body may be."""


def request(body: bytes = b"", headers: dict[str, str] | None = None) -> Request[Any, Any, Any]:
    """One as Litestar hands it to the guard."""
    names = [
        (name.replace("_", "-").encode(), value.encode()) for name, value in (headers or {}).items()
    ]
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": names,
    }
    scope["route_handler"] = nothing

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(scope, receive=receive)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "nemo.example"},
        {"host": "nemo.example", "origin": "https://nemo.example"},
        {"host": "Nemo.Example:8000", "origin": "http://nemo.example:8000"},
        {
            "host": "nemo.example",
            "origin": "https://other.example",
            "sec_fetch_site": "same-origin",
        },
    ],
)
def test_our_own_pages_and_programs_pass(headers: dict[str, str]) -> None:
    csrf.check_origin(request(b"", headers))


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "nemo.example", "origin": "https://nemo.example.evil.example"},
        {"host": "nemo.example", "origin": "https://nemo.example:8443"},
        {"host": "nemo.example", "origin": "null"},
        {"host": "nemo.example", "origin": ""},
        {"origin": "https://nemo.example"},
        {"host": "nemo.example", "origin": "https://nemo.example", "sec_fetch_site": "cross-site"},
        {"host": "nemo.example", "sec_fetch_site": "same-site"},
        {"host": "nemo.example", "sec_fetch_site": "none"},
        {"host": "nemo.example", "sec_fetch_site": ""},
    ],
)
def test_other_sites_do_not(headers: dict[str, str]) -> None:
    with pytest.raises(ForgedError):
        csrf.check_origin(request(b"", headers))


FORM = "application/x-www-form-urlencoded"


async def test_the_token_comes_in_a_field_or_a_header() -> None:
    await csrf.check_token(request(b"a=b&csrf_token=secret", {"content_type": FORM}), "secret")
    await csrf.check_token(
        request(b"a=b&csrf_token=secret", {"content_type": f"{FORM}; charset=utf-8"}), "secret"
    )
    await csrf.check_token(request(b"", {"x_csrf_token": "secret"}), "secret")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", {}),
        (b"csrf_token=secret", {}),
        (b"csrf_token=secret", {"content_type": "text/plain"}),
        (b"csrf_token=wrong", {"content_type": FORM}),
        (b"csrf_token=secret&csrf_token=wrong", {"content_type": FORM}),
        (b"csrf_token=secret", {"content_type": FORM, "x_csrf_token": "wrong"}),
        (b"csrf_token=%F0%9F%90%A0", {"content_type": FORM}),
        (b"csrf_token=secre", {"content_type": FORM}),
    ],
)
async def test_without_the_right_token_nothing_is_changed(
    body: bytes, headers: dict[str, str]
) -> None:
    with pytest.raises(ForgedError):
        await csrf.check_token(request(body, headers), "secret")


@pytest.mark.parametrize(
    "path",
    [
        "/login",
        "/nowhere",
        "/acme",
        "/acme/keys",
        "/static/nemo.css",
        "/static/none",
        "/api/v1/me",
        "/api/v1/nothing",
    ],
)
async def test_every_answer_carries_the_headers_of_safety(plane: Plane, path: str) -> None:
    for scheme in ("http", "https"):
        answer = await plane("GET", path, scheme=scheme)
        for name, value in HEADERS:
            assert answer.headers[name.decode()] == value.decode(), (path, name)
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers.get("strict-transport-security", "") == (
            "max-age=31536000" if scheme == "https" else ""
        )
        if not path.startswith("/static/nemo"):
            assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers


async def test_no_other_site_is_answered_by_a_browser(plane: Plane, ada: Person) -> None:
    answer = await plane("GET", "/api/v1/me", ada, headers={"origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    answer = await plane("OPTIONS", "/api/v1/keys", ada, headers={"origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
