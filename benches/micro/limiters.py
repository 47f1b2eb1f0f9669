"""One decision in memory, as each limiter is meant to be called: a key, a limit, yes or no.

The gates do more: they check the key's hash, requests, tokens and money of four scopes, and write a
slot that survives.
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
    """The keys of one round: one over and over, or a fixed walk over all."""
    if spread == "hot":
        return ["key 7"] * STEPS
    return [f"key {number}" for number in random.Random(5).choices(range(keys), k=STEPS)]


def gate(world: World, spread: str) -> tuple[Callable[[], None], World]:
    """What a round runs on a gate."""
    identify, admit, settle = world.gate.identify, world.gate.admit, world.gate.settle
    headers = world.headers[:1] * STEPS if spread == "hot" else world.headers

    def run() -> None:
        for header in headers:
            ticket = admit(
                identify(header, "192.0.2.1", CHAT), MODEL, CHAT, 0, 2_000, 100, 1, False
            )
            settle(ticket, 480, 0, 60, 200, OK, 250_000, 80_000)

    return run, world


def limits_window(keys: int, limit: int) -> Step:
    """``limits``, sliding window counter: an estimate, not exact."""
    limits = importlib.import_module("limits")
    limiter = limits.strategies.SlidingWindowCounterRateLimiter(limits.storage.MemoryStorage())
    item = limits.RateLimitItemPerMinute(limit)
    return lambda key: limiter.hit(item, key)


def limits_fixed(keys: int, limit: int) -> Step:
    """``limits``, fixed window: its quickest, twice the limit at a window's edge."""
    limits = importlib.import_module("limits")
    limiter = limits.strategies.FixedWindowRateLimiter(limits.storage.MemoryStorage())
    item = limits.RateLimitItemPerMinute(limit)
    return lambda key: limiter.hit(item, key)


def throttled(keys: int, limit: int) -> Step:
    """``throttled-py``, GCRA, with room for all keys."""
    module = importlib.import_module("throttled")
    store = module.MemoryStore(options={"MAX_SIZE": keys + 16})
    quota = module.per_min(limit, burst=limit)
    throttle = module.Throttled(using=module.RateLimiterType.GCRA.value, quota=quota, store=store)
    return lambda key: not throttle.limit(key).limited


def pyrate(keys: int, limit: int) -> Step:
    """``pyrate-limiter``, GCRA, a bucket a key."""
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
                bucket = self.buckets[item.name] = module.StateBucket(
                    rates, module.GCRA(), clock=self.clock
                )
            return bucket

    limiter = module.Limiter(Buckets())
    return lambda key: limiter.try_acquire(key, blocking=False)


RIVALS: dict[str, tuple[str, Callable[[int, int], Step]]] = {
    "limits-sliding": ("limits", limits_window),
    "limits-fixed": ("limits", limits_fixed),
    "throttled": ("throttled", throttled),
    "pyrate": ("pyrate_limiter", pyrate),
}
