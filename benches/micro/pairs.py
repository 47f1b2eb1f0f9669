"""Native gate and reference in turns: a slow moment of the machine meets both, so their ratio
holds.
"""

import gc
import importlib
import time
from collections.abc import Callable
from types import ModuleType
from typing import Final, NamedTuple

from pytest_benchmark.fixture import BenchmarkFixture

NATIVE: Final = "nemorouter._core"
REFERENCE: Final = "nemorouter.reference"


class Round(NamedTuple):
    """``run``, timed, does its steps; ``setup``, untimed, makes ready for that; ``check`` looks at
    the outcome.
    """

    run: Callable[[], object]
    setup: Callable[[], object]
    check: Callable[[int], None] = lambda rounds: None
    """With the number of rounds that ran so far."""


def compare(
    benchmark: BenchmarkFixture, make: Callable[[ModuleType], Round], times: int, rounds: int
) -> None:
    """Measure ``times`` steps of both implementations, ``rounds`` times, after a round of each that
    is only checked.

    pytest-benchmark takes the time of the reference; ``extra_info["native"]`` has the seconds of
    the native round right before each of its rounds.
    """
    native, reference = (make(importlib.import_module(name)) for name in (NATIVE, REFERENCE))
    for each in (native, reference):
        each.setup()
        each.run()
        each.check(1)
    beside: list[float] = []
    begun = 0

    def setup() -> None:
        nonlocal begun
        begun += 1
        # One more, untimed: the reference left nothing of the native gate in the processor's
        # caches.
        for keep in (False, True):
            native.setup()
            started = time.process_time()
            native.run()
            if keep:
                beside.append(time.process_time() - started)
        reference.setup()

    # A million keys of the reference are objects that the collector would look through again and
    # again.
    gc.collect()
    gc.freeze()
    # pytest-benchmark carries no types.
    benchmark.pedantic(reference.run, setup=setup, rounds=rounds, warmup_rounds=1)  # type: ignore[no-untyped-call]
    gc.unfreeze()
    native.check(1 + 2 * begun)
    reference.check(1 + begun)
    benchmark.extra_info.update(times=times, native=beside[-rounds:])
