"""Test I-SAME: random histories give equal verdicts, headers, meters and rows in both gates.

On the way, the invariants that one history can show: I-ALL, I-ONCE, I-LEDGER.
"""

from typing import Any

import hypothesis.strategies as st
from hypothesis import assume
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from nemorouter.errors import TicketError
from nemorouter.reference import hash_key
from nemorouter.types import RATES, Duration, Endpoint, Kind, ModelPrice, Outcome, Policy, Status
from tests.support.pair import PEPPERS, SLOTS, START_MS, Pair
from tests.support.rates import by_name

DAY_MS = 86_400_000
KEYS = {1: "sk-nemo-" + "1" * 20, 2: "sk-nemo-" + "2" * 20, 3: "sk-nemo-" + "3" * 20}
OWNERS = {1: (1, 1), 2: (1, 0), 3: (2, 1)}  # key -> team, user
SCOPES = [
    (Kind.ORG, 1),
    (Kind.TEAM, 1),
    (Kind.TEAM, 2),
    (Kind.USER, 1),
    *((Kind.KEY, key) for key in KEYS),
]

limits = st.none() | st.sampled_from([0, 1, 2, 60, 7]) | st.integers(0, 5000)
bursts = st.none() | st.integers(0, 3000)
LIMITED: dict[str, st.SearchStrategy[int | None]] = {
    field: strategy
    for rate in RATES
    for field, strategy in ((rate.name, limits), (rate.burst, bursts))
}
caps = st.none() | st.integers(0, 3) | st.integers(0, 100_000)
statuses = st.sampled_from([Status.ACTIVE] * 9 + [Status.REVOKED, Status.DISABLED])
names = st.sampled_from([(), (), ("m",), ("gpt-*", "free"), ("*",), ("m", "g*"), ("gpt-4o-mini",)])
addresses = st.sampled_from(
    [(), (), ("10.0.0.0/8",), ("10.1.2.3", "2001:db8::/48"), ("::/0",), ("0.0.0.0/0",)]
)
masks = st.sampled_from([0, 0, 0b0000001, 0b0001000, 0b1111111])
models = st.sampled_from(["m", "m", "gpt-4o", "gpt-4o-mini", "free", "unpriced", "image"])
clients = st.sampled_from(
    ["10.1.2.3", "10.1.2.4", "11.0.0.1", "::ffff:10.1.2.3", "2001:db8::5", "2001:db9::5", "nobody"]
)
headers = st.sampled_from(
    [
        *(f"Bearer {key}" for key in KEYS.values()),
        *(f"bearer   {key} ".encode() for key in KEYS.values()),
        None,
        "",
        " ",
        "Bearer",
        "Basic x",
        "Bearer sk-nemo-" + "9" * 20,
        "Bearer sk-nemo-1",
        b"\xff\xfe",
        "Bearer é",
    ]
)
spans = st.sampled_from([0, 1, 999, 1_000_000, 8_571_429, 60_000_000]) | st.integers(0, 120_000_000)
leaps = st.sampled_from([3_600, 86_400, 7 * 86_400, 31 * 86_400]).map(lambda s: s * 1_000_000)


class Histories(RuleBasedStateMachine):
    """One host: a drainer, a control plane that changes policies, a gate with random callers."""

    tickets: Bundle[int] = Bundle("tickets")
    ended: Bundle[int] = Bundle("ended")

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair()
        self.version = 0
        self.index: dict[tuple[int, int], int] = {}
        self.policies: dict[tuple[int, int], Policy] = {}
        self.rows: list[tuple[Any, ...]] = []
        self.latest_ms = START_MS
        self.turned_back = False

    @initialize()
    def begin(self) -> None:
        for kind, id in SCOPES:
            self.write(kind, id)
        self.price("m", 1_000_000, 500_000, 2_000_000, 0, 5)
        self.price("gpt-4o", 333_333, None, 1, 7, 0)
        self.price("free", 0, None, 0, 0, 10)
        self.price("image", 0, None, 0, 40, 0)

    def write(self, kind: Kind, id: int, **fields: Any) -> None:
        self.version += 1
        owners: dict[str, Any] = {} if kind == Kind.ORG else {"org": 1}
        if kind == Kind.KEY:
            team, user = OWNERS[id]
            pepper = PEPPERS[id % 2][1]  # keys of both peppers
            fields |= {
                "team": team,
                "user": user,
                "digest": hash_key(KEYS[id], pepper),
                "last4": KEYS[id][-4:],
            }
        policy = Policy(
            kind=kind,
            id=id,
            version=self.version,
            name=f"{kind.name} {id}",
            **owners,
            **by_name(fields),
        )
        self.index[kind, id] = self.pair.put(policy)
        self.policies[kind, id] = policy

    def price(
        self,
        model: str,
        input: int | None,
        cached: int | None,
        output: int,
        request: int,
        most: int,
    ) -> None:
        self.version += 1
        self.pair.put_price(
            ModelPrice(
                model=model,
                version=self.version,
                input=input,
                cached=cached,
                output=output,
                request=request,
                max_output=most,
            )
        )

    @rule(
        scope=st.sampled_from(SCOPES),
        limited=st.fixed_dictionaries({}, optional=LIMITED),
        cap=caps,
        status=statuses,
        duration=st.sampled_from(Duration),
        models=names,
        ips=addresses,
        endpoints=masks,
        expires=st.none() | st.integers(-1000, 100_000),
        same=st.booleans(),
    )
    def change(
        self,
        scope: tuple[Kind, int],
        expires: int | None,
        same: bool,
        duration: Duration,
        limited: dict[str, int | None],
        **fields: Any,
    ) -> None:
        """Change a policy.

        Half of the changes keep the duration; any other freezes the money word.
        """
        kind, id = scope
        if kind != Kind.KEY:
            expires = None
            fields["ips"] = ()
        if kind not in (Kind.KEY, Kind.TEAM):
            fields |= {"models": (), "endpoints": 0}
        old = self.policies[kind, id].duration
        expires_ms = None if expires is None else self.pair.wall_ms + expires
        fields |= {"duration": old if same else duration, "expires_ms": expires_ms}
        self.write(kind, id, **fields, **limited)

    @rule(scope=st.sampled_from(SCOPES))
    def repeat_old_version(self, scope: tuple[Kind, int]) -> None:
        """Repeat a late message of an older change, which is ignored."""
        self.pair.put(self.policies[scope])

    @rule(model=models, input=st.none() | st.integers(0, 3_000_000), request=st.integers(0, 100))
    def reprice(self, model: str, input: int | None, request: int) -> None:
        assume(model != "unpriced")
        self.price(model, input, None, 1_000_000, request, 8)

    @rule(us=spans)
    def wait(self, us: int) -> None:
        self.pair.advance(us)

    @rule(us=leaps)
    def sleep(self, us: int) -> None:
        self.pair.advance(us)

    @rule(days=st.sampled_from([-40, -8, -3, -1, 0, 1, 9]), seconds=st.integers(-7200, 7200))
    def step_wall_clock(self, days: int, seconds: int) -> None:
        to = max(START_MS - 20 * DAY_MS, self.pair.wall_ms + days * DAY_MS + seconds * 1000)
        self.turned_back |= to < self.latest_ms - 2 * DAY_MS
        self.pair.set_wall(to)

    @rule(value=headers, ip=clients, endpoint=st.sampled_from(Endpoint))
    def identify(self, value: str | bytes | None, ip: str, endpoint: Endpoint) -> None:
        self.pair.identify(value, ip, endpoint)

    @rule(
        target=tickets,
        key=st.sampled_from(list(KEYS)),
        model=models,
        endpoint=st.sampled_from(Endpoint),
        prompt_bytes=st.integers(0, 400),
        max_tokens=st.sampled_from([None, 0, 1, 10, 500]),
        choices=st.integers(1, 3),
        stream=st.booleans(),
        absurd=st.sampled_from([1] * 30 + [1 << 40]),
    )
    def admit(
        self,
        key: int,
        model: str,
        endpoint: int,
        prompt_bytes: int,
        max_tokens: int | None,
        choices: int,
        stream: bool,
        absurd: int,
    ) -> Any:
        before = self.pair.meters()
        request = (model, int(endpoint), 0, prompt_bytes * absurd, max_tokens, choices, stream)
        answer = self.pair.admit(self.index[Kind.KEY, key], *request)
        if isinstance(answer, int):
            return answer
        assert self.pair.meters() == before, "a refusal consumed something"
        return multiple()

    @rule(
        target=ended,
        ticket=consumes(tickets),
        input=st.integers(0, 150),
        cached=st.integers(0, 60),
        output=st.integers(0, 40) | st.just(10_000),
        outcome=st.sampled_from(Outcome),
        ttft=st.sampled_from([None, 0, 250_000]),
    )
    def settle(
        self, ticket: int, input: int, cached: int, output: int, outcome: int, ttft: int | None
    ) -> int:
        usage = (input, cached, output, 200, int(outcome), 1234, ttft)
        assert not isinstance(self.pair.settle(ticket, *usage), TicketError)
        return ticket

    @rule(ticket=ended)
    def settle_again(self, ticket: int) -> None:
        before = self.pair.meters()
        again = self.pair.settle(ticket, 9, 0, 9, 200, int(Outcome.OK), 1, None)
        assert isinstance(again, TicketError)
        assert self.pair.meters() == before

    @rule()
    def drain(self) -> None:
        self.rows += self.pair.drain(SLOTS)

    @rule(minutes=st.integers(-1, 2))
    def take_tallies(self, minutes: int) -> None:
        self.pair.refusal_counts(self.pair.wall_ms // 60_000 + minutes)

    @rule()
    def recount_what_is_due(self) -> None:
        due = sorted({*self.pair.frozen(), *self.pair.deferred()})
        for index in due:
            self.recount(index)
        self.pair.finish_deferred()
        assert self.pair.frozen() == []

    @precondition(lambda self: not self.turned_back)
    @rule(scope=st.sampled_from(SCOPES))
    def recount_changes_nothing(self, scope: tuple[Kind, int]) -> None:
        """I-LEDGER: a word that is not frozen already is ledger + slots."""
        index = self.index[scope]
        before = self.pair.meters()[index]
        assume(not before["frozen"] and not self.pair.deferred())
        self.recount(index)
        assert self.pair.meters()[index] == before

    def recount(self, index: int) -> None:
        """As the drainer does: the sum of the rows in the scope's window, and then the word."""
        (kind, id) = next(s for s, i in self.index.items() if i == index)
        (first, end) = self.pair.window(index)
        column = {Kind.KEY: 1, Kind.TEAM: 2, Kind.USER: 3, Kind.ORG: 4}[Kind(kind)]
        ledger = sum(
            row[14] or 0
            for row in self.rows
            if row[column] == id and first <= row[0] // DAY_MS < end
        )
        self.pair.recount(index, first, ledger)

    @invariant()
    def same_meters(self) -> None:
        self.pair.meters()
        self.latest_ms = max(self.latest_ms, self.pair.wall_ms)

    @invariant()
    def same_rest(self) -> None:
        self.pair.compare_rest(
            [index for (kind, _), index in self.index.items() if kind == Kind.KEY]
        )


TestHistories = Histories.TestCase
