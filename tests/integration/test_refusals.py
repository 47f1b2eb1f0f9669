"""Test that a refusal consumes nothing, at any level, for any reason."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from nemorouter._core import Arena, Gate, Journal, ManualClock, hash_key
from nemorouter.errors import Code
from nemorouter.types import Duration, Endpoint, Kind, ModelPrice, Policy, Status
from tests.support.rates import by_name
from tests.support.world import KEY, ORG, TEAM, USER, a_key

PEPPERS = [(1, bytes(32))]


class Scene:
    """An org, a team, a user and a key, each with limits that leave room.

    ``change`` takes the room away at one level.
    """

    def __init__(self, slots: int = 8) -> None:
        self.clock = ManualClock()
        self.arena = Arena.private(16)
        self.journal = Journal.private(slots, ["echo"])
        self.gate = Gate(self.arena, self.journal, PEPPERS, self.clock)
        self.text = a_key()
        self.version = 1
        digest = hash_key(self.text, bytes(32))
        self.policies: dict[Kind, Policy] = {
            Kind.ORG: Policy(kind=Kind.ORG, id=ORG, version=1),
            Kind.TEAM: Policy(kind=Kind.TEAM, id=TEAM, org=ORG, version=1),
            Kind.USER: Policy(kind=Kind.USER, id=USER, org=ORG, version=1),
            Kind.KEY: Policy(
                kind=Kind.KEY, id=KEY, org=ORG, team=TEAM, user=USER, version=1, digest=digest
            ),
        }
        for kind in self.policies:
            rates = {} if kind == Kind.USER else {"rpm": 100, "tpm": 100_000}
            self.change(kind, cap=10**6, **rates)
        self.arena.put_price(ModelPrice(model="m", version=1, input=1_000_000, output=1_000_000))

    def change(self, kind: Kind, **fields: Any) -> None:
        self.version += 1
        policy = msgspec.structs.replace(
            self.policies[kind], version=self.version, **by_name(fields)
        )
        self.policies[kind] = policy
        self.arena.put(policy)

    def ask(self, model: str = "m") -> int:
        """Return the code of the refusal, 0 if admitted."""
        index = self.gate.identify(f"Bearer {self.text}", "10.0.0.1", Endpoint.CHAT_COMPLETIONS)
        if index < 0:
            return -index
        verdict = self.gate.admit(index, model, Endpoint.CHAT_COMPLETIONS, 0, 40, 10, 1, False)
        return 0 if isinstance(verdict, int) else verdict.code

    def meters(self) -> list[tuple[object, ...]]:
        wall = 1_767_225_600_000
        found = (
            self.arena.meters(index, boot_us=1_000_000, wall_ms=wall)
            for index in range(self.arena.scopes)
        )
        return [(*m.remaining, m.committed, m.frozen) for m in found]


def changed(code: Code, kind: Kind, **fields: Any) -> Any:
    """Change the level's policy after one request was admitted."""

    def spoil(scene: Scene) -> None:
        scene.change(kind, **fields)

    return pytest.param(code, spoil, id=f"{code.name.lower()}-{kind.name.lower()}")


def _no_slot(scene: Scene) -> None:
    while not scene.ask():
        pass


REFUSALS = [
    changed(Code.KEY_REVOKED, Kind.KEY, status=Status.REVOKED),
    changed(Code.KEY_EXPIRED, Kind.KEY, expires_ms=1),
    changed(Code.KEY_WRONG_IP, Kind.KEY, ips=("192.168.0.0/16",)),
    *(
        changed(Code.OWNER_DISABLED, kind, status=Status.DISABLED)
        for kind in (Kind.TEAM, Kind.USER, Kind.ORG)
    ),
    *(changed(Code.ENDPOINT_NOT_ALLOWED, kind, endpoints=2) for kind in (Kind.KEY, Kind.TEAM)),
    *(changed(Code.MODEL_NOT_ALLOWED, kind, models=("other",)) for kind in (Kind.KEY, Kind.TEAM)),
    *(changed(Code.RATE_LIMIT_EXCEEDED, kind, rpm=1) for kind in (Kind.KEY, Kind.TEAM, Kind.ORG)),
    *(changed(Code.TPM_LIMIT_EXCEEDED, kind, tpm=30) for kind in (Kind.KEY, Kind.TEAM, Kind.ORG)),
    *(
        changed(Code.BUDGET_EXCEEDED, kind, cap=39)
        for kind in (Kind.KEY, Kind.TEAM, Kind.USER, Kind.ORG)
    ),
    *(
        changed(Code.NOT_READY, kind, duration=Duration.DAILY)
        for kind in (Kind.KEY, Kind.TEAM, Kind.USER, Kind.ORG)
    ),
    pytest.param(Code.OVERLOADED, _no_slot, id="overloaded"),
]


@pytest.mark.parametrize(("code", "spoil"), REFUSALS)
def test_a_refusal_consumes_nothing(code: Code, spoil: Callable[[Scene], None]) -> None:
    scene = Scene()
    assert scene.ask() == 0
    spoil(scene)
    before = scene.meters()
    free = scene.journal.free_slots
    for _ in range(5):
        assert scene.ask() == code
    assert scene.meters() == before
    assert scene.journal.free_slots == free


def test_every_refusal_of_a_known_key_has_a_case() -> None:
    tried = {parameter.values[0] for parameter in REFUSALS} | {Code.MODEL_PRICE_UNKNOWN}
    unknown = {Code.MISSING_API_KEY, Code.KEY_MALFORMED, Code.KEY_UNKNOWN}
    assert tried == {code for code in Code if code <= Code.NOT_READY} - unknown


def test_a_model_without_a_price_and_strangers_consume_nothing() -> None:
    scene = Scene()
    before = scene.meters()
    assert scene.ask("free-for-all") == Code.MODEL_PRICE_UNKNOWN
    identify = scene.gate.identify
    assert identify(None, "10.0.0.1", 0) == -Code.MISSING_API_KEY
    assert identify("Bearer sk-nemo-short", "10.0.0.1", 0) == -Code.KEY_MALFORMED
    assert identify(f"Bearer {a_key()}", "10.0.0.1", 0) == -Code.KEY_UNKNOWN
    assert scene.meters() == before
