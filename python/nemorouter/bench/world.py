"""What the micro-benchmarks measure on: one org, team and user with many keys, limits and budgets
at every level.
"""

import random
from types import ModuleType
from typing import Any

from nemorouter.reference import hash_key
from nemorouter.types import (
    MAX_LIMIT,
    MAX_SPEND_NANO,
    NANO,
    Endpoint,
    Kind,
    ModelPrice,
    Outcome,
    Policy,
)

PEPPER = b"b" * 32
MODEL = "gpt-4o-mini"
CHAT = int(Endpoint.CHAT_COMPLETIONS)
OK = int(Outcome.OK)
SLOTS = 4096


def secret(number: int) -> str:
    """A well-formed key."""
    return f"sk-nemo-{number:020d}"


def owners() -> list[Policy]:
    """Org, team and user, each with all the limits it can have, so wide that none refuses."""
    wide: dict[str, Any] = {"rpm": MAX_LIMIT, "tpm": MAX_LIMIT, "cap": MAX_SPEND_NANO}
    return [
        Policy(kind=Kind.ORG, id=1, version=1, **wide),
        Policy(kind=Kind.TEAM, id=1, version=1, org=1, **wide),
        Policy(kind=Kind.USER, id=1, version=1, org=1, cap=MAX_SPEND_NANO),
    ]


def key_policy(number: int, **fields: Any) -> Policy:
    """A key with wide limits, unless ``fields`` say otherwise."""
    wide: dict[str, Any] = {"rpm": MAX_LIMIT, "tpm": MAX_LIMIT, "cap": MAX_SPEND_NANO}
    digest = hash_key(secret(number), PEPPER)
    return Policy(
        kind=Kind.KEY, id=number, version=1, org=1, team=1, user=1, digest=digest, **(wide | fields)
    )


class World:
    """A gate of one implementation with ``keys`` keys, and the values of headers that name them in
    random order.
    """

    def __init__(self, module: ModuleType, keys: int = 1_000, **fields: Any) -> None:
        self.arena = module.Arena.private(keys + 16)
        self.journal = module.Journal.private(SLOTS, ("echo",))
        self.gate = module.Gate(self.arena, self.journal, [(1, PEPPER)])
        self.arena.put_many(owners())
        self.arena.put_price(
            ModelPrice(model=MODEL, version=1, input=150 * NANO // 1000, output=600 * NANO // 1000)
        )
        for first in range(0, keys, 10_000):
            last = min(keys, first + 10_000)
            self.arena.put_many(
                [key_policy(number, **fields) for number in range(first + 1, last + 1)]
            )
        drawn = random.Random(5).choices(range(keys), k=1_000)  # noqa: S311 - no secret: the same walk every time
        self.headers = [f"Bearer {secret(number + 1)}" for number in drawn]

    def drain(self) -> None:
        """Give every ended slot back, as the drainer does."""
        self.journal.free([row[0] for row in self.journal.rows(SLOTS)])

    def admit(self, index: int) -> Any:  # noqa: ANN401 - a ticket or a refusal, of either implementation
        """An ordinary request of 2,000 bytes and at most 100 tokens."""
        return self.gate.admit(index, MODEL, CHAT, 0, 2_000, 100, 1, False)

    def settle(self, ticket: int) -> int:
        """480 tokens read, 60 written."""
        cost: int = self.gate.settle(ticket, 480, 0, 60, 200, OK, 250_000, 80_000)
        return cost
