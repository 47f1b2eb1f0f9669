"""Which upstream serves a model."""

from typing import Any

from nemorouter.upstream.routes import UpstreamRoutes


class Named:
    instant = None

    def __init__(self, name: str) -> None:
        self.name = name


def routes(**patterns: list[str]) -> UpstreamRoutes:
    table: list[Any] = [(Named(name), models) for name, models in patterns.items()]
    return UpstreamRoutes(table)


def test_exact_before_the_longest_prefix_before_the_rest() -> None:
    table = routes(rest=["*"], gpt=["gpt-*", "o1"], four=["gpt-4*", "gpt-5"], late=["gpt-*"])
    served = {
        model: table.resolve(model) for model in ("gpt-4o", "gpt-3", "gpt-5", "o1", "o1-mini", "x")
    }
    names = {model: upstream.name for model, upstream in served.items() if upstream}
    assert names == {
        "gpt-4o": "four",
        "gpt-3": "gpt",
        "gpt-5": "four",
        "o1": "gpt",
        "o1-mini": "rest",
        "x": "rest",
    }
    assert table.names == ["rest", "gpt", "four", "late"]
    assert table.models == ["o1", "gpt-5"]


def test_nobody() -> None:
    assert routes(a=["gpt-*"]).resolve("claude") is None
    assert routes(a=["*"]).resolve("sk-nemo-" + "a" * 20) is None
