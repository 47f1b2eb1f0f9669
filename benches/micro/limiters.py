"""Call each in-memory limiter of PyPI as its documentation does: one key, one limit, yes or no.

The gates do more in a step. They check the hash of the key, the requests, tokens and money of four
scopes, and write a slot that survives the process.
"""

import importlib
import random
from collections.abc import Callable, Sequence
from typing import Any

from nemorouter.bench.world import CHAT, MODEL, OK, World

STEPS = 1_000
WIDE = 1_000_000_000
Step = Callable[[str], object]


def key_names(keys: int, spread: str) -> Sequence[str]:
    """Return the keys of a round: the same one each time if "hot", else a fixed random draw."""
    if spread == "hot":
        return ["key 7"] * STEPS
    return [f"key {number}" for number in random.Random(5).choices(range(keys), k=STEPS)]


def gate(world: World, spread: str) -> tuple[Callable[[], None], World]:
    """Return a function that runs a round on the gate of ``world``, and ``world`` itself."""
    identify = world.gate.identify
    admit = world.gate.admit
    settle = world.gate.settle
    headers = world.headers[:1] * STEPS if spread == "hot" else world.headers

    def run() -> None:
        for header in headers:
            ticket = admit(
                identify(header, "192.0.2.1", CHAT), MODEL, CHAT, 0, 2_000, 100, 1, False
            )
            settle(ticket, 480, 0, 60, 200, OK, 250_000, 80_000)

    return run, world


def limits_window(keys: int, limit: int) -> Step:
    """Make a sliding window counter of ``limits``, which estimates and is not exact."""
    limits = importlib.import_module("limits")
    limiter = limits.strategies.SlidingWindowCounterRateLimiter(limits.storage.MemoryStorage())
    item = limits.RateLimitItemPerMinute(limit)
    return lambda key: limiter.hit(item, key)


def limits_fixed(keys: int, limit: int) -> Step:
    """Make a fixed window of ``limits``: its quickest, which admits twice the limit at an edge."""
    limits = importlib.import_module("limits")
    limiter = limits.strategies.FixedWindowRateLimiter(limits.storage.MemoryStorage())
    item = limits.RateLimitItemPerMinute(limit)
    return lambda key: limiter.hit(item, key)


def throttled(keys: int, limit: int) -> Step:
    """Make a GCRA limiter of ``throttled-py``, with room for all keys."""
    module = importlib.import_module("throttled")
    store = module.MemoryStore(options={"MAX_SIZE": keys + 16})
    quota = module.per_min(limit, burst=limit)
    throttle = module.Throttled(using=module.RateLimiterType.GCRA.value, quota=quota, store=store)
    return lambda key: not throttle.limit(key).limited


def pyrate(keys: int, limit: int) -> Step:
    """Make a GCRA limiter of ``pyrate-limiter``, with a bucket for each key."""
    module: Any = importlib.import_module("pyrate_limiter")

    class Buckets(module.BucketFactory):  # type: ignore[misc]
        def __init__(self) -> None:
            self.buckets: dict[str, Any] = {}
            self.clock = module.MonotonicClock()

        def wrap_item(self, name: str, weight: int = 1) -> Any:
            return module.RateItem(name, self.clock.now(), weight=weight)

        def get(self, item: Any) -> Any:
            bucket = self.buckets.get(item.name)
            if bucket is None:
                rates = [module.Rate(limit, module.Duration.MINUTE)]
                bucket = module.StateBucket(rates, module.GCRA(), clock=self.clock)
                self.buckets[item.name] = bucket
            return bucket

    limiter = module.Limiter(Buckets())
    return lambda key: limiter.try_acquire(key, blocking=False)


RIVALS: dict[str, tuple[str, Callable[[int, int], Step]]] = {
    "limits-sliding": ("limits", limits_window),
    "limits-fixed": ("limits", limits_fixed),
    "throttled": ("throttled", throttled),
    "pyrate": ("pyrate_limiter", pyrate),
}
"""By name: the module to import, and a function of the number of keys and the limit a minute."""
