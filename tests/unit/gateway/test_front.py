"""Which path leads where, before and after the start."""

from nemorouter.gateway import paths
from nemorouter.gateway.front import not_ready
from tests.unit.gateway.wires import Wire


async def test_before_the_start() -> None:
    for path in ("/v1/chat/completions", "/v1/models", "/readyz", "/nothing"):
        wire = Wire(path=path)
        await not_ready(wire, wire)
        assert (wire.status, wire.code) == (503, "not_ready")
        assert ("retry-after", "1") in wire.answer_headers
    wire = Wire(path="/healthz")
    await not_ready(wire, wire)
    assert wire.status == 200


def test_allow() -> None:
    assert paths.allowed("/v1/embeddings") == "POST"
    assert paths.allowed("/v1/models") == "GET"
    assert paths.allowed("/v1/models/org/model:tag") == "GET"
    assert paths.allowed("/metrics") == "GET, HEAD"
    for path in (
        "/v1/models/",
        "/v1/models//x",
        "/v1/models/..",
        "/v1/embeddings/",
        "/v2/embeddings",
        "",
    ):
        assert paths.allowed(path) is None
