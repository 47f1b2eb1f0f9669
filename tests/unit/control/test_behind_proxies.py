"""Behind a proxy that ends TLS: HSTS, links, and a word where the proxy is not trusted."""

import re
from typing import Any

import msgspec
import pytest

from nemorouter.control import auth
from nemorouter.control.app import create_control
from nemorouter.errors import ConfigurationError
from nemorouter.services.transaction.context import Context
from nemorouter.settings import Settings
from tests.unit.control.conftest import BLANK, Person, Plane

PUBLIC = "https://llm.example.com"
TLS = {"x-forwarded-proto": "https", "x-forwarded-for": "198.51.100.1"}


def behind(context: Context, **options: Any) -> Plane:
    """Make the control plane with these settings."""
    settings = msgspec.structs.replace(context.settings, **options)
    return Plane(create_control(context._replace(settings=settings), settings))


@pytest.mark.parametrize(
    ("client", "proto", "expected"),
    [
        ("10.0.0.2", "https", True),
        ("10.0.0.2", "HTTPS", True),
        ("10.0.0.2", "http", False),
        ("203.0.113.9", "https", False),
    ],
)
async def test_hsts_is_sent_where_the_browser_speaks_https(
    context: Context, client: str, proto: str, expected: bool
) -> None:
    """Row P24 of the attacks: HSTS was missing behind a TLS proxy."""
    plane = behind(context, trusted_proxies=("10.0.0.0/8",))
    answer = await plane("GET", "/login", headers={"x-forwarded-proto": proto}, client=client)
    assert ("strict-transport-security" in answer.headers) is expected


async def test_links_begin_with_the_public_url(context: Context, ada: Person) -> None:
    """Row P24 of the attacks: links were built from the Host header, and with http://."""
    plane = behind(context, public_url=PUBLIC)
    forged = {"host": "evil.example"}
    fields = {**BLANK, "csrf_token": ada.csrf, "name": "x", "team": "Default"}
    made = await plane("POST", f"{ada.org}/keys/new", ada, fields, forged)
    assert f"{PUBLIC}/v1" in made.text
    invited = await plane(
        "POST",
        f"{ada.org}/people/invitations",
        ada,
        {"csrf_token": ada.csrf, "email": "new@example.org", "role": "member"},
        forged,
    )
    assert f"{PUBLIC}/invitations/accept?token=" in invited.text
    for page in (made, invited):
        assert page.status == 200
        assert "evil.example" not in page.text


async def test_an_untrusted_proxy_is_named(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row P24 of the attacks: nobody could tell why signing in was refused."""
    auth._warn_of_proxy.cache_clear()
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(auth, "_log", _Recorder(told))
    fields = {"email": "a@example.org", "password": "some words of mine"}
    asked = {**TLS, "host": "llm.example.com"}
    for _ in range(2):
        answer = await behind(context)(
            "POST", "/login", fields=fields, headers=asked, client="10.9.9.9"
        )
        assert answer.status == 400
        assert re.search(r"A proxy at 10\.9\.9\.9 .* name it in\s+trusted_proxies", answer.text)
    assert [line["peer"] for line in told] == ["10.9.9.9"]
    plain = await behind(context)(
        "POST", "/login", fields=fields, headers={"host": "llm.example.com"}, client="10.9.9.9"
    )
    assert "A proxy at" not in plain.text


class _Recorder:
    """A logger that keeps its lines."""

    def __init__(self, lines: list[dict[str, Any]]) -> None:
        self._lines = lines

    def warning(self, event: str, **fields: Any) -> None:
        """Keep a line."""
        self._lines.append({"event": event, **fields})


@pytest.mark.parametrize(
    "url",
    [
        "llm.example.com",
        "ftp://a.example",
        "https://a.example/x",
        "https://u:p@a.example",
        "https://",
    ],
)
def test_a_public_url_is_an_origin(url: str) -> None:
    with pytest.raises(ConfigurationError, match="public_url"):
        Settings(public_url=url)
