"""Test the driver of a host that shares limits: it calls the agent and waits, or refuses."""

from nemorouter.upstream.base import Answer, Request
from tests.support.wires import KEY, Wire, driver, gate


class Upstream:
    """Answers every request with a usage of two tokens."""

    name = "scripted"

    async def send(self, request: Request) -> Answer:
        return self.instant(request.endpoint, request.body, request.request_id)

    def instant(self, endpoint: int, body: bytes, request_id: str) -> Answer:
        body = b'{"usage":{"prompt_tokens":1,"completion_tokens":1}}'
        return Answer(200, [("content-type", "application/json")], body)

    async def close(self) -> None: ...


async def test_a_lease_is_waited_for_and_the_agent_called() -> None:
    one = gate(clustered=True, rpm=60)
    arena = one.arena
    arena.admit_until_us = 0
    rings: list[int] = []

    def agent() -> None:
        """Grants at the second ring."""
        rings.append(1)
        ((index, resource, need),) = set(arena.take_demand())
        if len(rings) == 2:
            arena.grant(index, resource, need, one.now_us() + 10**9)

    wire = Wire()
    await driver(one, Upstream(), wake=agent)(wire, wire)
    assert (wire.status, len(rings)) == (200, 2)
    assert dict(wire.answer_headers)["x-ratelimit-remaining-requests"] == "0", (
        "no more of the 60 is here"
    )


async def test_what_nobody_grants_is_not_ready() -> None:
    one = gate(clustered=True, rpm=60)
    one.arena.admit_until_us = 0
    wire = Wire()
    await driver(one, Upstream())(wire, wire)
    assert (wire.status, wire.code) == (503, "not_ready")
    assert one.journal.take_refusal_counts(1 << 40) == [], (
        "a question to the bank is no refusal of the key"
    )
    assert one.journal.rows() == []


async def test_a_host_without_its_lease_says_so_at_once() -> None:
    one = gate(clustered=True)
    answers = driver(one, Upstream())
    for key in (KEY, "sk-nemo-" + "z" * 20):
        wire = Wire(key=key)
        await answers(wire, wire)
        assert (wire.status, wire.code) == (503, "not_ready"), "even of a key that it does not know"
        assert b"lost touch" in wire.answer
        assert dict(wire.answer_headers)["retry-after"] == "1"
    wire = Wire(key=None)
    await answers(wire, wire)
    assert wire.status == 401
