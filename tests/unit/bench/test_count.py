"""The gate of instruction counts: 3 % is the line, and what the baseline does not know is no pass."""

import json
import subprocess
import sys
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


def test_the_verb_fails_when_a_step_grew(tmp_path: Path) -> None:
    """The whole program, but for the counting itself, which takes valgrind and minutes."""
    program = (
        "import sys, json, pathlib; from benches.rust import count\n"
        "key = count.signature(); known = json.loads(count.BASELINE.read_text()); known[key] = {'admit': 1000.0}\n"
        "count.BASELINE = pathlib.Path(sys.argv[1]); count.BASELINE.write_text(json.dumps(known))\n"
        "found = float(sys.argv[2]); count.count = lambda: {'admit': found}\n"
        "count.shutil.which = lambda _: '/bin/true'; sys.argv[1:] = []; count.main()\n"
    )

    def run(instructions: str) -> int:
        command = [sys.executable, "-c", program, str(tmp_path / "baseline.json"), instructions]
        return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode

    assert run("1029") == 0
    assert run("1031") == 1
