"""The upstreams of a worker, and which of them serves a model. The rule is native.

Fixed at the start; clients choose nothing.
"""

from collections.abc import Sequence

from nemorouter._core import Routes
from nemorouter.upstream.base import Upstream
from nemorouter.upstream.echo import Echo


class UpstreamRoutes:
    """All upstreams, in the order of the settings, each with the patterns of its models."""

    def __init__(self, table: Sequence[tuple[Upstream, Sequence[str]]]) -> None:
        self.upstreams = [upstream for upstream, _ in table]
        self.table = Routes([list(patterns) for _, patterns in table])
        self.models = [
            pattern for _, patterns in table for pattern in patterns if not pattern.endswith("*")
        ]
        """Models that are named in full."""

    @property
    def echo(self) -> int | None:
        """The number of the built-in upstream, if it is one of them."""
        numbers = [at for at, upstream in enumerate(self.upstreams) if isinstance(upstream, Echo)]
        return numbers[0] if numbers else None

    @property
    def names(self) -> list[str]:
        """Of the upstreams, as the journal keeps them."""
        return [upstream.name for upstream in self.upstreams]

    def resolve(self, model: str) -> Upstream | None:
        """Find the upstream that serves a model."""
        number = self.table.resolve(model)
        return None if number is None else self.upstreams[number]

    async def close(self) -> None:
        """Close every upstream's connections."""
        for upstream in self.upstreams:
            await upstream.close()
