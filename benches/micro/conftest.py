"""Give the benchmarks the test vectors, so that each can check its answer before it is timed."""

from tests.conftest import vectors

__all__ = ["vectors"]
