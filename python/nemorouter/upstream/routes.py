"""Which upstream serves a model: exact names first, then the longest prefix.

Fixed at the start; clients choose nothing.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from nemorouter.upstream.base import Upstream


def names_a_key(model: str) -> bool:
    """True if a client sent a key in the place of a model. Nobody serves that: the names of models
    are logged.
    """
    return "k-nemo-" in model


class Route(NamedTuple):
    """An upstream, and its number in the journal's list of upstreams."""

    upstream: Upstream
    number: int


class Routes:
    """All upstreams, in the order of the settings; earlier ones win where patterns are equal."""

    def __init__(self, table: Sequence[tuple[Upstream, Sequence[str]]]) -> None:
        self.upstreams = [upstream for upstream, _ in table]
        self._exact: dict[str, Route] = {}
        prefixes: dict[str, Route] = {}
        for index, (upstream, patterns) in enumerate(table):
            for pattern in patterns:
                names, name = (
                    (prefixes, pattern[:-1]) if pattern.endswith("*") else (self._exact, pattern)
                )
                names.setdefault(name, Route(upstream, index))
        self._prefixes = sorted(prefixes.items(), key=lambda item: -len(item[0]))
        self.resolve = lru_cache(1024)(self._resolve)

    @property
    def names(self) -> list[str]:
        """Of the upstreams, as the journal keeps them."""
        return [upstream.name for upstream in self.upstreams]

    @property
    def models(self) -> list[str]:
        """Models that are named in full."""
        return list(self._exact)

    def _resolve(self, model: str) -> Route | None:
        """None = no upstream serves this model."""
        if names_a_key(model):
            return None
        exact = self._exact.get(model)
        if exact is not None:
            return exact
        return next((route for prefix, route in self._prefixes if model.startswith(prefix)), None)

    async def close(self) -> None:
        """Close every upstream's connections."""
        for upstream in self.upstreams:
            await upstream.close()
