"""Build the gate that the micro-benchmarks measure: many keys of one org, team and user.

Each of the four scopes has rate limits and a budget, so wide that none of them refuses.
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
    per_rate,
)

PEPPER = b"b" * 32
MODEL = "gpt-4o-mini"
CHAT = int(Endpoint.CHAT_COMPLETIONS)
OK = int(Outcome.OK)
SLOTS = 4096
_SEED = 5
_WIDE: dict[str, Any] = {
    "limits": per_rate(rpm=MAX_LIMIT, tpm=MAX_LIMIT),
    "cap": MAX_SPEND_NANO,
}


def secret(number: int) -> str:
    """Return a well-formed key that contains ``number``."""
    return f"sk-nemo-{number:020d}"


def owners() -> list[Policy]:
    """Return the policies of the org, the team and the user. The user has a budget only."""
    return [
        Policy(kind=Kind.ORG, id=1, version=1, **_WIDE),
        Policy(kind=Kind.TEAM, id=1, version=1, org=1, **_WIDE),
        Policy(kind=Kind.USER, id=1, version=1, org=1, cap=MAX_SPEND_NANO),
    ]


def key_policy(number: int, **fields: Any) -> Policy:
    """Return the policy of key ``number``: wide limits, replaced by ``fields`` where given."""
    digest = hash_key(secret(number), PEPPER)
    return Policy(
        kind=Kind.KEY,
        id=number,
        version=1,
        org=1,
        team=1,
        user=1,
        digest=digest,
        **(_WIDE | fields),
    )


class World:
    """A gate with ``keys`` keys, and 1,000 ``Authorization`` values that name them at random.

    ``module`` is the implementation: ``nemorouter._core`` or ``nemorouter.reference``.
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
        # Every run draws the same keys in the same order, so that two runs are comparable.
        drawn = random.Random(_SEED).choices(range(keys), k=1_000)  # noqa: S311 - no secret
        self.headers = [f"Bearer {secret(number + 1)}" for number in drawn]

    def drain(self) -> None:
        """Free every slot whose ticket has ended, as the drainer does."""
        self.journal.free([row.slot for row in self.journal.rows(SLOTS)])

    def admit(self, index: int) -> Any:  # noqa: ANN401 - a ticket or a refusal of either module
        """Admit a chat completion of 2,000 bytes and at most 100 tokens of output."""
        return self.gate.admit(index, MODEL, CHAT, 0, 2_000, 100, 1, False)

    def settle(self, ticket: int) -> int:
        """Settle ``ticket`` with 480 input and 60 output tokens; return its cost in nano-USD."""
        cost: int = self.gate.settle(ticket, 480, 0, 60, 200, OK, 250_000, 80_000)
        return cost
