"""Which part answers what is no model call, before and after the start."""

from nemorouter.gateway.router import not_ready
from tests.support.wires import Wire


async def test_before_the_start() -> None:
    for path in ("/v1/chat/completions", "/v1/models", "/readyz", "/nothing"):
        wire = Wire(path=path)
        await not_ready(wire, wire)
        assert (wire.status, wire.code) == (503, "not_ready")
        assert ("retry-after", "1") in wire.answer_headers
    wire = Wire(path="/healthz")
    await not_ready(wire, wire)
    assert wire.status == 200
