"""Make the reference gate and a limiter answer wrongly, as a plugin for pytest.

No benchmark may take their time.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from nemorouter import reference
from nemorouter.bench import world as _world  # noqa: F401 - it takes the right hash, so that its keys can be found


def _wrong(name: str, answer: Any) -> None:
    setattr(reference, name, lambda *_: answer)


class Gate(reference.Gate):
    """Every key is the wrong one, every request is admitted, and costs a nano-dollar too much."""

    def identify(self, *arguments: Any) -> int:
        index = super().identify(*arguments)
        return -999 if index < 0 else index + (1 if index < 900 else -1)

    def admit(self, index: int, *arguments: Any) -> Any:
        answer = super().admit(index, *arguments)
        return answer if isinstance(answer, int) else 1

    def settle(self, *arguments: Any) -> int:
        return (super().settle(*arguments) or 0) + 1

    def reserved(self, ticket: int) -> tuple[int, int]:
        return (0, 0)

    def rate_headers(self, index: int) -> list[tuple[str, str]]:
        return [("x-ratelimit-limit-requests", "1")]


class Bucket(reference.Bucket):
    """Bottomless."""

    def take(self, *arguments: Any) -> bool:
        return True


_wrong("parse_key", "sk-nemo-somebody-else-s-key")
_wrong("hash_key", b"\0" * 32)
for broken in (Gate, Bucket):
    setattr(reference, broken.__name__, broken)

if find_spec("limits") is not None:  # a rival, in the benchmarks' environment only
    setattr(import_module("limits.strategies").FixedWindowRateLimiter, "hit", lambda *_, **__: True)  # noqa: B010
