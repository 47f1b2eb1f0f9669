"""Fixtures that more than one folder of tests needs."""

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# The gate of the house sees the same cases each time; `pytest --hypothesis-profile campaign` looks for new ones.
settings.register_profile("house", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("campaign", parent=settings.get_profile("house"), derandomize=False, max_examples=5_000)
settings.load_profile("house")

GATES = {"native": "nemorouter._core", "reference": "nemorouter.reference"}


@pytest.fixture(params=sorted(GATES))
def gate_module(request: pytest.FixtureRequest) -> ModuleType:
    """Both implementations of the gate, one after the other."""
    return importlib.import_module(GATES[request.param])


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    """Known answers, shared with the Rust tests."""
    found: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "vectors.json").read_text("utf-8"))
    return found
