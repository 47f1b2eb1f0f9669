"""Test the gate of instruction counts: over 3 % fails, and so does a step without a baseline."""

import json
from pathlib import Path

import pytest

from benches.rust.count import BASELINE, OPERATIONS, compare

ROOT = Path(__file__).parents[3]
BEFORE = {"admit": 1000.0, "settle": 500.0}


def test_noise_below_three_per_cent_passes() -> None:
    assert compare({"admit": 1029.0, "settle": 400.0}, BEFORE) == []


def test_a_slower_step_fails_by_name() -> None:
    assert compare({"admit": 1031.0, "settle": 500.0}, BEFORE) == [
        "admit: 1031 instructions, +3.1%"
    ]


def test_a_step_without_baseline_fails() -> None:
    assert compare({"refuse": 10.0}, BEFORE) == ["refuse: not in the baseline"]


@pytest.mark.parametrize("entry", json.loads(BASELINE.read_text("utf-8")))
def test_the_committed_baseline_knows_every_step(entry: str) -> None:
    assert set(json.loads(BASELINE.read_text("utf-8"))[entry]) == set(OPERATIONS)
