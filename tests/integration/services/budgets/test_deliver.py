"""Deliveries over a real connection."""

import pytest

from nemorouter.services.budgets.deliver import post
from tests.support.receiver import receiver, resolves


async def test_no_redirect_is_followed() -> None:
    with receiver(307) as (url, got):
        assert await post(url, {}, b"x", private=True) == 307
    assert len(got) == 1


async def test_the_address_that_was_looked_at_is_the_one_that_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with receiver(200) as (url, got):
        asked = resolves(monkeypatch, ["127.0.0.1"])  # a second look would find nothing
        assert (
            await post(url.replace("127.0.0.1", "rebound.example"), {}, b"x", private=True) == 200
        )
    assert asked == ["rebound.example"]
    assert got[0][0]["host"].startswith("rebound.example:")
