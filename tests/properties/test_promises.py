"""Test what the gate promises, over random traffic: I-WINDOW, an honest retry_after, I-BUDGET."""

from types import ModuleType
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, example, given, settings

from nemorouter.errors import Code
from nemorouter.reference import hash_key
from nemorouter.reference.bucket import grain
from nemorouter.types import RATES, Duration, Endpoint, Kind, ModelPrice, Outcome, Policy, Rate
from tests.support.oracle import Event, issued, worst_window
from tests.support.rates import by_name

PEPPER = b"p" * 32
SECRET = "sk-nemo-" + "P" * 20
BOTH = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
CHAT = int(Endpoint.CHAT_COMPLETIONS)
TPM = next(rate for rate in RATES if rate.name == "tpm")

gaps = st.sampled_from([0, 1, 1_000_000, 999_999]) | st.integers(0, 30_000_000)


class Host:
    """One key with the given fields, under an unlimited team, user and org."""

    def __init__(self, module: ModuleType, kind: Kind = Kind.KEY, **fields: Any) -> None:
        fields = by_name(fields)
        self.clock = module.ManualClock(7_777_777)
        self.now_us = 7_777_777
        self.arena = module.Arena.private(8)
        self.gate = module.Gate(self.arena, module.Journal.private(256), [(1, PEPPER)], self.clock)
        self.arena.put_price(ModelPrice(model="m", version=1, input=0, output=1_000_000))
        for each in Kind:
            owners: dict[str, Any] = {} if each == Kind.ORG else {"org": 1}
            if each == Kind.KEY:
                owners |= {"team": 1, "user": 1, "digest": hash_key(SECRET, PEPPER)}
            policy = Policy(
                kind=each, id=1, version=1, **owners, **(fields if each == kind else {})
            )
            self.key = self.arena.put(policy)

    def advance(self, us: int) -> None:
        self.now_us += us
        self.clock.advance(us)

    @property
    def wall_ms(self) -> int:
        """A manual clock starts at the turn of the year 2026."""
        return 1_767_225_600_000 + (self.now_us - 7_777_777) // 1_000

    def admit(self, tokens: int) -> Any:
        return self.gate.admit(self.key, "m", CHAT, 0, 0, tokens, 1, False)

    def settle(self, ticket: int, tokens: int) -> None:
        self.gate.settle(ticket, 0, 0, tokens, 200, int(Outcome.OK), 0, None)


def unit_us(rate: Rate, limit: int) -> int:
    """Return how long a bucket may be behind: the time of a unit, rounded up; 0 for exact rates."""
    doubled = grain(rate)
    return -(-(1 << doubled) // limit) if doubled else 0


@BOTH
@given(
    kind=st.sampled_from([Kind.KEY, Kind.TEAM, Kind.ORG]),
    rate=st.sampled_from([rate for rate in RATES if rate.resource == "tokens"]),
    limit=st.integers(1, 100_000),
    burst=st.integers(1, 3_000),
    traffic=st.lists(st.tuples(gaps, st.integers(1, 800), st.integers(0, 100)), max_size=60),
)
@example(
    kind=Kind.KEY,
    rate=TPM,
    limit=7,
    burst=7,
    traffic=[(5, 7, 100), (8_571_428, 1, 100), (1, 1, 100), (8_571_428, 1, 100)],
)
def test_no_window_takes_more_than_burst_and_refill(
    gate_module: ModuleType,
    kind: Kind,
    rate: Rate,
    limit: int,
    burst: int,
    traffic: list[tuple[int, int, int]],
) -> None:
    host = Host(gate_module, kind, **{rate.name: limit, rate.burst: burst})
    events: list[Event] = []
    for gap, tokens, used_percent in traffic:
        host.advance(gap * (rate.period_s // 60))
        ticket = host.admit(tokens)
        if not isinstance(ticket, int):
            assert ticket.code == Code[rate.code.upper()]
            if worst_window([*events, (host.now_us, tokens)], limit, rate.period_us) <= burst:
                assert ticket.retry_after_us <= unit_us(rate, limit), "refused what fits"
            continue
        used = tokens * used_percent // 100
        host.settle(ticket, used)
        events += [(host.now_us, tokens), (host.now_us, used - tokens)]
        assert worst_window(events, limit, rate.period_us) <= burst


@BOTH
@given(
    limit=st.integers(1, 5_000),
    burst=st.integers(1, 500),
    drained=st.integers(0, 500),
    rpm=st.integers(1, 100),
    tokens=st.integers(1, 600),
)
def test_a_retry_at_the_stated_time_succeeds_and_not_before(
    gate_module: ModuleType, limit: int, burst: int, drained: int, rpm: int, tokens: int
) -> None:
    host = Host(gate_module, tpm=limit, tpm_burst=burst, rpm=rpm, rpm_burst=1)
    host.admit(drained)
    refusal = host.admit(tokens)
    if isinstance(refusal, int):
        return
    wait = refusal.retry_after_us
    if wait is None:
        assert tokens > burst
        return
    host.advance(wait - 1)
    assert not isinstance(host.admit(tokens), int), "a microsecond early"
    host.advance(1)
    assert isinstance(host.admit(tokens), int)


@BOTH
@given(
    kind=st.sampled_from(Kind),
    duration=st.sampled_from(Duration),
    cap=st.integers(0, 1_000),
    traffic=st.lists(
        st.tuples(
            st.sampled_from([0, 0, 1, 43_200, 2_678_400]), st.integers(0, 400), st.integers(0, 100)
        ),
        max_size=60,
    ),
)
def test_committed_never_passes_the_cap(
    gate_module: ModuleType,
    kind: Kind,
    duration: Duration,
    cap: int,
    traffic: list[tuple[int, int, int]],
) -> None:
    host = Host(gate_module, kind, cap=cap, duration=duration)
    scope = host.arena.find(kind, 1, hash_key(SECRET, PEPPER) if kind == Kind.KEY else b"")
    open_tickets: list[tuple[int, int]] = []
    for seconds, nano, used_percent in traffic:
        host.advance(seconds * 1_000_000)
        ticket = host.admit(nano)
        if isinstance(ticket, int):
            open_tickets.append((ticket, nano * used_percent // 100))
        else:
            assert (ticket.code, ticket.kind, ticket.limit) == (Code.BUDGET_EXCEEDED, kind, cap)
            assert ticket.used + nano > cap
        if len(open_tickets) > 3:
            host.settle(*open_tickets.pop(0))
        assert host.arena.meters(scope, host.now_us, host.wall_ms).committed <= cap


def test_the_oracle_sees_one_token_too_many() -> None:
    minute = 60_000_000
    assert worst_window([], 60) == 0
    assert worst_window([(minute, 60)], 60) == 60
    assert worst_window([(minute, 60), (minute + 1_000_000, 1)], 60) == 60
    assert worst_window([(minute, 60), (minute + 999_999, 1)], 60) == 61
    assert (
        worst_window(
            [(0, 5), (9 * minute, 60), (9 * minute, -10), (9 * minute, 10), (9 * minute, 1)], 60
        )
        == 61
    )


@pytest.mark.parametrize(
    ("limit", "elapsed_us", "tokens"), [(60, 999_999, 0), (60, 1_000_000, 1), (7, 8_571_429, 1)]
)
def test_what_any_window_issues(limit: int, elapsed_us: int, tokens: int) -> None:
    assert issued(limit, elapsed_us) == tokens
