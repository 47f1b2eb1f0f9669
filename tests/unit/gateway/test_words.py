"""Small pure parts: credentials, sources, guarded paths, and how numbers are written."""

import pytest

from nemorouter._core import head
from nemorouter.errors import Code, ConfigurationError
from nemorouter.gateway import problems
from nemorouter.gateway.guard import Guard
from nemorouter.gateway.headers import ietf_headers, milliseconds, usd
from nemorouter.gateway.source import behind
from nemorouter.types import NANO
from tests.unit.gateway.wires import KEY, MemoryHeaders, Wire


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0.000000000"),
        (1, "0.000000001"),
        (NANO - 1, "0.999999999"),
        (NANO, "1.000000000"),
        (12 * NANO + 5, "12.000000005"),
    ],
)
def test_usd(nano: int, text: str) -> None:
    assert usd(nano) == text


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        *((0, "$0.00"), (100_000, "$0.0001"), (1, "$0.000000001"), (500_000_000, "$0.50")),
        *(
            (500_120_000_000, "$500.12"),
            (500_124_999_999, "$500.12"),
            (500 * NANO, "$500.00"),
            (10**16, "$10000000.00"),
        ),
    ],
)
def test_dollars(nano: int, text: str) -> None:
    assert problems.dollars(nano) == text


def test_milliseconds_has_no_exponent() -> None:
    assert [milliseconds(us) for us in (0, 1, 999, 1500, 10**9)] == [
        "0.0",
        "0.001",
        "0.999",
        "1.5",
        "1000000.0",
    ]


def test_ietf_headers() -> None:
    rates = [("x-ratelimit-limit-requests", "60"), ("x-ratelimit-remaining-requests", "59")]
    assert ietf_headers(rates) == [
        ("ratelimit-policy", '"requests";q=60;w=60'),
        ("ratelimit", '"requests";r=59'),
    ]
    assert ietf_headers([]) == []


def asked(wire: Wire) -> str | None:
    return head(wire, wire.headers, 500, 100)[0]


def test_authorization() -> None:
    assert asked(Wire()) == f"Bearer {KEY}"
    assert asked(Wire(key=None)) is None
    wire = Wire()
    for query in ("a=sk%2Dnemo%2Dx", "mk-nemo-", "%25&k=%73k-nemo-"):
        wire.query_string = query
        assert asked(wire) == "Bearer ?"
    for query in ("a=b&limit=3", "%sk-nemo", "%", "a=%2"):
        wire.query_string = query
        assert asked(wire) == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("headers", "size"),
    [
        ({"content_length": "7"}, 7),
        ({"content_length": "7", "content_type": "application/json; charset=utf-8"}, 7),
        ({"content_length": "7", "content_type": "application/problem+JSON"}, 7),
        ({"content_length": "7", "content_type": "text/plain"}, -1 - 23),
        ({"content_length": "7", "content_encoding": " Identity"}, 7),
        ({"content_length": "7", "content_encoding": "gzip"}, -1 - 23),
        ({"content_length": "101"}, -1 - 22),
        ({"content_length": "9" * 30}, -1 - 22),
        ({"content_length": ""}, -1),
        ({"content_length": "x"}, -1),
        ({"content_length": "7", "x": "y" * 500}, -1 - 24),
        ({"content_length": "7", "x" * 500: "y"}, -1 - 24),
    ],
)
def test_body_size(headers: dict[str, str], size: int) -> None:
    given = MemoryHeaders({name.replace("_", "-"): value for name, value in headers.items()})
    assert head(Wire(), given, 500, 100) == (None, size)


@pytest.mark.parametrize(
    ("hops", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        (
            "198.51.100.7, 203.0.113.9",
            "203.0.113.9",
        ),  # what the client wrote itself counts for nothing
        ("203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("203.0.113.9, nonsense", "nonsense"),
        ("", "10.0.0.1"),
    ],
)
def test_source_behind_proxies(hops: str, address: str) -> None:
    wire = Wire(x_forwarded_for=hops)
    source = behind(["10.0.0.0/8", "2001:db8::/32"])
    assert source is not None
    for client in ("10.0.0.1:1234", "[2001:db8::1]:1234"):
        wire.client = client
        assert source(wire, wire.headers) == address or not hops
    wire.client = "192.0.2.1:1234"
    assert source(wire, wire.headers) == "192.0.2.1"
    assert behind([]) is None


def test_guard() -> None:
    guard = Guard(["/v1", "/private/"])
    for path in (
        "/v1",
        "/v1/x",
        "/V1/x",
        "//v1/x",
        "/a/../v1/x",
        "/./v1",
        "/%76%31/x",
        "/v1\\x",
        "/private",
        "/private/a",
    ):
        assert guard(path), path
    for path in ("/", "/v10", "/v2/v1", "/privately", "/v1x/../open"):
        assert not guard(path), path
    with pytest.raises(ConfigurationError):
        Guard(["v1"])


def test_answers_can_be_extended_without_harm() -> None:
    problems.answer(Code.OVERLOADED).headers.append(("x", "y"))
    assert ("x", "y") not in problems.answer(Code.OVERLOADED).headers
    assert b"sk-nemo-aaaa" not in problems.no_such_model(KEY).encode()
