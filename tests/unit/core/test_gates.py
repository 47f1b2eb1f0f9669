"""Test native gate and reference on the rules that a random history does not easily reach."""

from types import ModuleType
from typing import Any

import pytest

from nemorouter.errors import Code, TicketError
from nemorouter.reference.bucket import grain
from nemorouter.types import (
    NANO,
    RATES,
    Duration,
    Endpoint,
    Kind,
    ModelPrice,
    Outcome,
    Policy,
    Rate,
    Status,
    per_rate,
)
from tests.support.rates import by_name

PEPPER = b"n" * 32
OLD_PEPPER = b"o" * 32
SECRET = "sk-nemo-" + "R" * 20
BEARER = f"Bearer {SECRET}"


class World:
    """One org, team, user and key, all unlimited, and a gate with a clock that stands still."""

    def __init__(self, module: ModuleType, slots: int = 8) -> None:
        self.clock = module.ManualClock()
        self.arena = module.Arena.private(64)
        self.journal = module.Journal.private(slots, ("echo",))
        self.gate = module.Gate(
            self.arena, self.journal, [(2, PEPPER), (1, OLD_PEPPER)], self.clock
        )
        self.digest = module.hash_key(SECRET, PEPPER)
        self.version = 0
        self.arena.put_price(ModelPrice(model="m", version=1, input=1_000_000, output=2_000_000))
        self.org = self.put(Kind.ORG)
        self.team = self.put(Kind.TEAM)
        self.user = self.put(Kind.USER)
        self.key = self.put(Kind.KEY)

    def put(self, kind: Kind, **fields: Any) -> int:
        self.version += 1
        owners: dict[str, Any] = {"org": 1} if kind != Kind.ORG else {}
        if kind == Kind.KEY:
            owners |= {"team": 1, "user": 1}
            fields = {"digest": self.digest, "last4": "RRRR"} | fields
        index: int = self.arena.put(
            Policy(kind=kind, id=1, version=self.version, **owners, **by_name(fields))
        )
        return index

    def identify(
        self, value: str | bytes | None = BEARER, ip: str = "192.0.2.1", endpoint: int = 0
    ) -> int:
        found: int = self.gate.identify(value, ip, endpoint)
        return found

    def admit(
        self, model: str = "m", tokens: int | None = 10, endpoint: int = 0, choices: int = 1
    ) -> Any:
        return self.gate.admit(self.key, model, endpoint, 0, 0, tokens, choices, False)

    def settle(self, ticket: int, tokens: int = 10, outcome: Outcome = Outcome.OK) -> int | None:
        cost: int | None = self.gate.settle(ticket, 0, 0, tokens, 200, outcome, 1000, None)
        return cost


@pytest.fixture
def world(gate_module: ModuleType) -> World:
    return World(gate_module)


def test_identify_names_what_is_wrong(world: World) -> None:
    assert world.identify() == world.key
    assert world.identify(BEARER.encode()) == world.key
    assert world.identify(None) == -Code.MISSING_API_KEY
    assert world.identify(" \t ") == -Code.MISSING_API_KEY
    assert world.identify("Basic x") == -Code.KEY_MALFORMED
    assert world.identify(b"Bearer \xff") == -Code.KEY_MALFORMED
    assert world.identify("Bearer sk-nemo-" + "x" * 20) == -Code.KEY_UNKNOWN
    counters = world.journal.counters()
    assert counters["refused_missing_api_key"] == counters["refused_key_malformed"] == 2
    assert counters["refused_key_unknown"] == 1
    assert world.journal.take_refusal_counts(1 << 40) == []


def test_the_previous_pepper_is_still_heard(gate_module: ModuleType, world: World) -> None:
    digest = gate_module.hash_key("sk-nemo-" + "q" * 20, OLD_PEPPER)
    world.version += 1
    index = world.arena.put(
        Policy(kind=Kind.KEY, id=2, version=world.version, org=1, team=1, digest=digest)
    )
    assert world.identify("Bearer sk-nemo-" + "q" * 20) == index
    assert world.arena.find(Kind.KEY, 2, digest) == index
    assert world.arena.find(Kind.ORG, 1) == world.org
    assert world.arena.find(Kind.ORG, 2) is None


@pytest.mark.parametrize(
    ("kind", "fields", "code"),
    [
        (Kind.KEY, {"status": Status.REVOKED}, Code.KEY_REVOKED),
        (Kind.KEY, {"status": Status.DISABLED}, Code.KEY_REVOKED),
        (Kind.KEY, {"expires_ms": 1_767_225_600_000}, Code.KEY_EXPIRED),
        (Kind.TEAM, {"status": Status.DISABLED}, Code.OWNER_DISABLED),
        (Kind.USER, {"status": Status.DISABLED}, Code.OWNER_DISABLED),
        (Kind.ORG, {"status": Status.DISABLED}, Code.OWNER_DISABLED),
    ],
    ids=["revoked", "disabled", "expired", "team", "user", "org"],
)
def test_standing_is_asked_twice(
    world: World, kind: Kind, fields: dict[str, Any], code: Code
) -> None:
    world.put(kind, **fields)
    assert world.identify() == -code
    assert world.admit().code == code
    assert world.journal.take_refusal_counts(1 << 40) == [(1_767_225_600_000 // 60_000, 1, code, 2)]
    assert world.journal.take_refusal_counts(1 << 40) == []


@pytest.mark.parametrize("place", range(len(RATES)), ids=[rate.name for rate in RATES])
def test_a_new_bucket_is_charged_for_the_past(world: World, place: int) -> None:
    name = RATES[place].name
    for kind in (Kind.KEY, Kind.TEAM):
        world.put(kind, **{name: 10})
    world.arena.charge_past(world.key, place, 4)
    world.arena.charge_past(world.team, place, 1 << 40)
    world.arena.charge_past(world.org, place, 4)

    def left(index: int) -> int | None:
        remaining: int | None = world.arena.meters(index).remaining[place]
        return remaining

    assert left(world.key) == 6
    assert left(world.team) == 0, "empty, and not in debt"
    assert left(world.org) is None


@pytest.mark.parametrize("rate", RATES, ids=lambda rate: rate.name)
@pytest.mark.parametrize("kind", [Kind.KEY, Kind.TEAM, Kind.USER, Kind.ORG], ids=str)
def test_every_scope_has_every_rate(world: World, kind: Kind, rate: Rate) -> None:
    world.put(kind, **{rate.name: 10})
    assert isinstance(world.admit(tokens=9), int)
    again = world.admit(tokens=9)
    if rate.resource == "tokens":
        assert (again.code, again.kind) == (Code[rate.code.upper()], kind)
        assert (again.rate, again.limit) == (RATES.index(rate), 10)
        behind = (1 << grain(rate)) // 10 if grain(rate) else 0  # the time of a unit
        assert 0 <= again.retry_after_us - rate.period_us * 8 // 10 <= behind
    else:
        assert isinstance(again, int)
    world.put(kind, **{rate.name: 0})
    assert world.admit().code == Code[rate.code.upper()]


@pytest.mark.parametrize(
    ("ips", "ip", "allowed"),
    [
        (("192.0.2.0/24",), "192.0.2.255", True),
        (("192.0.2.0/24",), "192.0.3.0", False),
        (("192.0.2.0/24",), "::ffff:192.0.2.7", True),
        (("2001:db8::/32", "10.0.0.1"), "2001:db8:1::1", True),
        (("2001:db8::/32", "10.0.0.1"), "10.0.0.1", True),
        (("2001:db8::/32", "10.0.0.1"), "10.0.0.2", False),
        (("0.0.0.0/0",), "::1", False),
        (("::/0",), "192.0.2.1", True),
        (("192.0.2.0/24",), "", False),
        (("192.0.2.0/24",), "unix:", False),
        ((), "unix:", True),
    ],
    ids=str,
)
def test_source_addresses(world: World, ips: tuple[str, ...], ip: str, allowed: bool) -> None:
    world.put(Kind.KEY, ips=ips)
    assert world.identify(ip=ip) == (world.key if allowed else -Code.KEY_WRONG_IP)


@pytest.mark.parametrize("kind", [Kind.KEY, Kind.TEAM], ids=["key", "team"])
def test_endpoint_masks(world: World, kind: Kind) -> None:
    world.put(kind, endpoints=1 << Endpoint.EMBEDDINGS)
    assert world.identify(endpoint=Endpoint.EMBEDDINGS) == world.key
    assert world.identify(endpoint=Endpoint.MODELS) == world.key
    assert world.identify(endpoint=Endpoint.CHAT_COMPLETIONS) == -Code.ENDPOINT_NOT_ALLOWED


@pytest.mark.parametrize("kind", [Kind.KEY, Kind.TEAM], ids=["key", "team"])
def test_model_lists(world: World, kind: Kind) -> None:
    world.put(kind, models=("m", "gpt-4*"))
    for model, allowed in (
        ("m", True),
        ("mm", False),
        ("gpt-4", True),
        ("gpt-4o", True),
        ("gpt-", False),
    ):
        assert world.gate.may_use(world.key, model) is allowed, model
        refused = world.admit(model)
        assert (isinstance(refused, int)) is allowed, model
        assert allowed or refused.code == Code.MODEL_NOT_ALLOWED
    world.put(kind, models=("*",))
    assert world.gate.may_use(world.key, "anything")


@pytest.mark.parametrize(
    "kind", [Kind.KEY, Kind.TEAM, Kind.USER, Kind.ORG], ids=["key", "team", "user", "org"]
)
def test_an_unpriced_model_cannot_be_budgeted(world: World, kind: Kind) -> None:
    ticket = world.admit("unpriced")
    assert world.settle(ticket) is None
    assert world.journal.rows()[0].cost_nano is None
    world.put(kind, cap=NANO)
    assert world.admit("unpriced").code == Code.MODEL_PRICE_UNKNOWN


def test_no_slot_no_admission(gate_module: ModuleType) -> None:
    world = World(gate_module, slots=2)
    tickets = [world.admit(), world.admit()]
    assert world.admit().code == Code.OVERLOADED
    assert world.journal.free_slots == 0
    world.settle(tickets[0])
    assert world.admit().code == Code.OVERLOADED, "not before the row is in the ledger"
    world.journal.free([row.slot for row in world.journal.rows()])
    assert isinstance(world.admit(), int)


def test_a_ticket_ends_once(world: World) -> None:
    ticket = world.admit()
    assert world.gate.reserved(ticket) == (0, 10)
    assert world.settle(ticket) == 20
    for unknown in (ticket, ticket + 1, -1, 1 << 62):
        with pytest.raises(TicketError):
            world.settle(unknown)
    assert world.arena.meters(world.key).committed == 20
    assert world.journal.counters()["settled"] == 1


@pytest.mark.parametrize(
    ("outcome", "tokens", "cost"),
    [
        (Outcome.OK, 0, 0),
        (Outcome.CLIENT_GONE, 3, 6),
        (Outcome.UPSTREAM_ERROR, 0, 0),
        (Outcome.TIMEOUT, 0, 0),
    ],
    ids=["ok", "gone", "error", "timeout"],
)
def test_what_was_produced_is_charged(
    world: World, outcome: Outcome, tokens: int, cost: int
) -> None:
    world.put(Kind.KEY, rpm=5, tpm=100)
    assert world.settle(world.admit(), tokens, outcome) == cost
    meters = world.arena.meters(world.key)
    assert meters.remaining == per_rate(rpm=4, tpm=100 - tokens)
    assert meters.committed == cost


def test_images_are_charged_by_the_piece(world: World) -> None:
    world.arena.put_price(ModelPrice(model="image", version=1, input=0, request=40_000))
    ticket = world.admit("image", None, Endpoint.IMAGES_GENERATIONS, choices=3)
    assert world.gate.reserved(ticket) == (0, 0)
    assert world.arena.meters(world.key).committed == 120_000
    assert world.settle(ticket, 0) == 120_000
    assert (
        world.settle(
            world.admit("image", None, Endpoint.IMAGES_GENERATIONS), 0, Outcome.UPSTREAM_ERROR
        )
        == 0
    )


def test_a_changed_duration_waits_for_its_recount(world: World) -> None:
    world.settle(world.admit())
    ticket = world.admit()
    world.put(Kind.TEAM, duration=Duration.DAILY)
    assert world.arena.frozen() == [world.team]
    assert world.arena.meters(world.team).frozen
    assert world.admit().code == Code.NOT_READY
    world.settle(ticket, 20)
    assert world.journal.deferred()
    assert len(world.journal.rows()) == 1, "a deferred slot is no row yet"
    assert world.arena.recount(world.team, 20_454, 1000, [world.journal])
    assert world.arena.meters(world.team).committed == 1000 + 20 + 40
    world.journal.finish_deferred()
    assert len(world.journal.rows()) == 2
    assert isinstance(world.admit(), int)


def test_each_scope_is_charged_alike(world: World) -> None:
    scopes = {
        Kind.KEY: world.key,
        Kind.TEAM: world.team,
        Kind.USER: world.user,
        Kind.ORG: world.org,
    }
    for kind in scopes:
        world.put(kind, rpm=5, tpm=100)
    world.settle(world.admit(tokens=60), 70)
    for index in scopes.values():
        assert world.arena.meters(index).remaining == per_rate(rpm=4, tpm=30)
    refusal = world.admit(tokens=60)
    assert (refusal.code, refusal.kind, refusal.rate) == (Code.TPM_LIMIT_EXCEEDED, Kind.KEY, 1)
    assert all(
        world.arena.meters(index).remaining == per_rate(rpm=4, tpm=30) for index in scopes.values()
    )


@pytest.mark.parametrize(
    "fields", [{"rpm": 0, "rpm_burst": 9}, {"tpm": 0, "tpm_burst": 99}, {"cap": 0}], ids=str
)
@pytest.mark.parametrize("kind", list(Kind), ids=[kind.name.lower() for kind in Kind])
def test_zero_blocks_everything(world: World, kind: Kind, fields: dict[str, int]) -> None:
    world.put(kind, **fields)
    refusal = world.admit()
    assert (refusal.kind, refusal.limit, refusal.retry_after_us) == (kind, 0, None)


@pytest.mark.parametrize("days", [1, 3, 60, 126, 127, 128, 129, 254, 256])
def test_a_budget_turns_however_long_nobody_came(world: World, days: int) -> None:
    world.put(Kind.KEY, duration=Duration.DAILY, cap=20)
    assert world.arena.recount(world.key, 20_454, 0, [world.journal])
    assert isinstance(world.admit(), int)
    assert world.admit().code == Code.BUDGET_EXCEEDED
    for step in [50] * (days // 50) + [days % 50]:
        world.clock.advance(step * 86_400_000_000)
        world.arena.roll_over()  # as the drainer does: a native word knows its window modulo 128
    ticket = world.admit()
    assert isinstance(ticket, int)
    world.settle(ticket)
    assert world.journal.rows()[0].at_ms == 1_767_225_600_000 + days * 86_400_000


def test_an_old_version_is_not_heard(world: World) -> None:
    world.put(Kind.KEY, rpm=1)
    stale = Policy(
        kind=Kind.KEY, id=1, version=world.version, org=1, team=1, user=1, digest=world.digest
    )
    assert world.arena.put(stale) == world.key
    assert world.arena.meters(world.key).remaining[0] == 1


@pytest.mark.parametrize(
    "policy",
    [
        Policy(kind=Kind.KEY, id=9, version=9, org=1, team=1, digest=b"short"),
        Policy(kind=Kind.KEY, id=9, version=9, org=1, team=9, digest=b"x" * 32),
        Policy(kind=Kind.TEAM, id=9, version=9, org=9),
        Policy(kind=Kind.ORG, id=9, version=9, limits=per_rate(rpm=1_000_000_001)),
        Policy(kind=Kind.ORG, id=9, version=9, limits=per_rate(tpm=-1)),
        Policy(kind=Kind.ORG, id=9, version=9, cap=10_000_000 * NANO + 1),
        Policy(kind=9, id=9, version=9),
    ],
    ids=["digest", "team", "org", "rpm", "tpm", "cap", "kind"],
)
def test_bad_policies_are_refused(world: World, policy: Policy) -> None:
    with pytest.raises(ValueError, match=r"."):
        world.arena.put(policy)
    assert world.arena.scopes == 4


def test_request_ids_are_distinct(world: World) -> None:
    ids = {world.gate.request_id(ticket) for ticket in (world.admit(), world.admit(), None, None)}
    assert len(ids) == 4
    assert all(len(each) == 36 and each.startswith("req_") for each in ids)
