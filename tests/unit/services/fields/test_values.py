"""Test what users type: exact money, bounded limits, clean names, and a reason for each refusal."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemorouter.errors import RefusedError
from nemorouter.services.fields import values
from nemorouter.types import MAX_LIMIT, MAX_SPEND_NANO, NANO

NOW = 1_800_000_000_000  # 2027-01-15T08:00:00Z


@given(st.integers(0, MAX_SPEND_NANO))
def test_money_goes_to_text_and_back_exactly(nano: int) -> None:
    text = values.usd_text(nano)
    assert values.usd(text, "x") == nano
    assert "e" not in text.lower()


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("50", 50 * NANO),
        ("0.25", NANO // 4),
        (" 1.000000001 ", NANO + 1),
        ("0.1000000000000", NANO // 10),
        ("007", 7 * NANO),
        ("1,234.56", 1_234 * NANO + 56 * NANO // 100),
        ("$1,234,567.5", 1_234_567 * NANO + NANO // 2),
    ],
)
def test_money(text: str, nano: int) -> None:
    assert values.usd(text, "x") == nano


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "0.00"), (1, "0.000000001"), (-NANO // 2, "-0.50"), (1_200 * NANO, "1200.00")],
)
def test_money_text(nano: int, text: str) -> None:
    assert values.usd_text(nano) == text


Check = Callable[..., Any]


@pytest.mark.parametrize(
    ("check", "given_value", "message"),
    [
        (values.max_spend, "-1", "not negative"),
        (values.max_spend, "1e3", "amount of USD"),
        (values.max_spend, "1,000", "amount of USD"),
        (values.max_spend, "NaN", "amount of USD"),
        (values.max_spend, "", "amount of USD"),
        (values.max_spend, "\u0661", "amount of USD"),
        (values.max_spend, "0.0000000001", "more than 9 decimals"),
        (values.max_spend, "10000000.000000001", "at most 10,000,000 USD"),
        (values.duration, "yearly", "daily, weekly, monthly|total, daily"),
        (values.name, "", "1 to 200 characters"),
        (values.name, "  ", "1 to 200 characters"),
        (values.name, "x" * 201, "1 to 200 characters"),
        (values.name, "a\nb", "control characters"),
        (values.name, "a\x1b[31m", "control characters"),
        (values.name, "a\u2028b", "control characters"),
        (values.name, "a\u202eb", "not seen"),
        (values.name, "a\u200bb", "not seen"),
        (values.name, "a\ufeff" + "b", "not seen"),
        (values.name, "a\U000e0041b", "not seen"),
        (values.name, "a\ue000b", "not seen"),
        (values.models, ["gpt\u2066"], "not seen"),
        (values.email, "nobody", "e-mail"),
        (values.email, "a@b@c", "e-mail"),
        (values.models, ["a*b"], "one \\* at its end"),
        (values.models, [""], "a name of at most"),
        (values.models, ["x" * 121], "a name of at most 120 bytes"),
        (values.models, ["m"] * 1001, "more than 1000 entries"),
        (values.endpoints, ["files"], "choose from chat/completions"),
        (values.networks, ["10.0.0.1/8"], "without host bits"),
        (values.networks, ["localhost"], "not an address"),
    ],
)
def test_refused_with_the_reason(check: Check, given_value: Any, message: str) -> None:
    with pytest.raises(RefusedError, match=message) as caught:
        check(given_value)
    assert caught.value.field


def test_limits() -> None:
    assert [values.limit(value, "rpm", MAX_LIMIT) for value in (None, 0, MAX_LIMIT)] == [
        None,
        0,
        MAX_LIMIT,
    ]
    for value in (-1, MAX_LIMIT + 1):
        with pytest.raises(RefusedError, match="rpm must be between"):
            values.limit(value, "rpm", MAX_LIMIT)


def test_names_keep_what_is_inside() -> None:
    assert values.name("  Zoë's  key ") == "Zoë's  key"


def test_endpoints_by_path() -> None:
    mask = values.endpoints(["/v1/chat/completions", "embeddings"])
    assert values.endpoint_names(mask) == ["chat/completions", "embeddings"]
    assert values.endpoints([]) == 0


def test_networks_are_spelled_one_way() -> None:
    assert values.networks(["10.0.0.0/8", "::0001", "10.0.0.0/8"]) == ["10.0.0.0/8", "::1/128"]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2027-01-16", 1_800_057_600_000),
        ("2027-01-15T09:00:00+00:00", NOW + 3_600_000),
        ("2027-01-15T10:00:00+01:00", NOW + 3_600_000),
        ("12h", NOW + 12 * 3_600_000),
        ("30d", NOW + 30 * 86_400_000),
    ],
)
def test_expiry(text: str, at: int) -> None:
    assert values.expiry(text, NOW) == at


@pytest.mark.parametrize("text", ["2027-01-15", "0d", "soon", "", "-1d", "999999w", "2027-13-01"])
def test_expiry_must_be_a_time_to_come(text: str) -> None:
    with pytest.raises(RefusedError, match="expires_at"):
        values.expiry(text, NOW)


@pytest.mark.parametrize(
    "text", ["2,5", "1,234", "1,23.4", "12,34.5", "1234,567.8", "1.234,56", ","]
)
def test_a_comma_that_may_mean_either_is_refused(text: str) -> None:
    """Row P29 of the attacks: 2,5 was saved as 25."""
    with pytest.raises(RefusedError, match="amount of USD"):
        values.usd(text, "max_spend")


@pytest.mark.parametrize(
    ("text", "number"), [("0", 0), (" 600 ", 600), ("100,000", 100_000), ("1 234 567", 1_234_567)]
)
def test_whole_numbers(text: str, number: int) -> None:
    assert values.whole(text, "rpm") == number


@pytest.mark.parametrize("text", ["2,5", "1.5", "10,00", "1,234 567", "-1", "1e3", "\u0661", "1,"])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    """Row P29 of the attacks, for limits: 2,5 requests a minute were saved as 25."""
    with pytest.raises(RefusedError, match="whole number"):
        values.whole(text, "rpm")
