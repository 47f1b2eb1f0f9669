"""The vectors of the tests: a benchmark is only worth something if the answer is right."""

from tests.conftest import vectors

__all__ = ["vectors"]
