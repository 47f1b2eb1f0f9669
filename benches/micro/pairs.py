"""Measure native gate and reference in turns, so that a slow moment of the machine meets both.

Times then vary from run to run, and their ratio does not.
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
    """What a round does: ``setup`` is not timed, ``run`` is, and ``check`` verifies the outcome."""

    run: Callable[[], object]
    setup: Callable[[], object]
    check: Callable[[int], None] = lambda rounds: None
    """Called after all rounds with their number; AssertionError if the outcome is wrong."""


def compare(
    benchmark: BenchmarkFixture, make: Callable[[ModuleType], Round], times: int, rounds: int
) -> None:
    """Measure ``rounds`` rounds of both implementations; a round has ``times`` steps.

    pytest-benchmark times the reference. ``extra_info["native"]`` has, for each of its rounds, the
    CPU seconds of the native round right before. A first round of each is checked and not timed.
    """
    native = make(importlib.import_module(NATIVE))
    reference = make(importlib.import_module(REFERENCE))
    for each in (native, reference):
        each.setup()
        each.run()
        each.check(1)
    beside: list[float] = []
    begun = 0

    def setup() -> None:
        nonlocal begun
        begun += 1
        # The first of two native rounds is not timed: the reference has pushed all memory of the
        # native gate out of the processor's caches.
        for keep in (False, True):
            native.setup()
            started = time.process_time()
            native.run()
            if keep:
                beside.append(time.process_time() - started)
        reference.setup()

    # The reference holds a million keys as objects. Frozen objects are not scanned by the garbage
    # collector, which would otherwise add its own time to the rounds.
    gc.collect()
    gc.freeze()
    # pytest-benchmark carries no types.
    benchmark.pedantic(reference.run, setup=setup, rounds=rounds, warmup_rounds=1)  # type: ignore[no-untyped-call]
    gc.unfreeze()
    native.check(1 + 2 * begun)
    reference.check(1 + begun)
    benchmark.extra_info.update(times=times, native=beside[-rounds:])
