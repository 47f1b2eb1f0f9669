"""Deliveries: which addresses are public, what is tried again, and that no redirect is followed."""

import pytest

from nemorouter.errors import RefusedError
from nemorouter.services.budgets import deliver, webhooks
from nemorouter.services.budgets.deliver import DeliveryError, is_public, pause_ms, post
from tests.support.receiver import resolves


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "172.16.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
        ),
        *(
            "::1",
            "::",
            "fe80::1%eth0",
            "fd00::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
        ),
        *("2002:7f00:1::", "ff02::1", "not an address"),
    ],
)
def test_addresses_of_our_own_network_are_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111"])
def test_public_addresses_pass(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1/", "https://localhost/", "https://[::1]/", "http://1.1.1.1/"]
)
async def test_nothing_is_sent_inside(url: str) -> None:
    with pytest.raises(DeliveryError):
        await post(url, {}, b"", private=False)


SPECIAL = (
    *("fec0::1", "64:ff9b:1::1", "64:ff9b::808:808", "::8.8.8.8", "::ffff:8.8.8.8", "100::1"),
    *("2001::1", "2001:20::1", "2001:db8::1", "2002:808:808::1", "2620:4f:8000::1", "3fff::1"),
    *("5f00::1", "4000::1", "192.0.0.9", "192.31.196.1", "192.52.193.1", "192.88.99.1"),
    *("192.175.48.1", "198.18.0.1", "203.0.113.1", "240.0.0.1", "255.255.255.255", "1.1.1.1%x"),
)


@pytest.mark.parametrize("address", SPECIAL)
def test_addresses_of_a_special_purpose_are_refused(address: str) -> None:
    """Row P21 of the attacks: alerts were posted to site-local and embedded addresses."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "https://u@a.example/",
        "https://:p@a.example/",
        "https://@a.example/",
        "https://a@:1@b.example",
    ],
)
def test_a_url_with_userinfo_is_refused(url: str) -> None:
    """Row P21 of the attacks: what stands before @ was taken for a part of the host, or sent."""
    with pytest.raises(RefusedError, match="without credentials"):
        webhooks._url(url, private=True)


def test_failures_are_tried_again_for_about_a_day() -> None:
    hours = sum(pause_ms(attempt) for attempt in range(1, deliver.ATTEMPTS)) / 3_600_000
    assert 20 < hours < 40


async def test_a_name_that_leads_inside_as_well_is_a_trap(monkeypatch: pytest.MonkeyPatch) -> None:
    resolves(monkeypatch, ["1.1.1.1", "127.0.0.1"])
    with pytest.raises(DeliveryError):
        await post("https://both.example/", {}, b"", private=False)
