"""Print a file of pytest-benchmark as ratios of reference to native.

python -m benches.micro.report FILE
"""

import json
import sys
from pathlib import Path
from typing import Any

from benches.micro.collect import micro

Medians = dict[str, dict[str, float]]
"""Nanoseconds by step and implementation."""


def medians(found: dict[str, Any]) -> Medians:
    """Take the median of each step and implementation from a file of pytest-benchmark."""
    steps: Medians = {}
    for each in micro(found):
        steps.setdefault(each.step, {})[each.by] = each.ns[0]
    return steps


def table(steps: Medians) -> str:
    """Format the medians as text, a step on a line."""
    lines = [f"{'step':34}{'native':>10}{'reference':>12}{'ratio':>9}"]
    for step, both in steps.items():
        ratio = both["reference"] / both["native"]
        lines.append(
            f"{step:34}{both['native']:>7.0f} ns{both['reference']:>9.0f} ns{ratio:>8.1f}x"
        )
    return "\n".join(lines)


def main() -> None:
    """Print machine, method and table."""
    found = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    machine = found["machine_info"]
    cpu = machine["cpu"].get("brand_raw", machine["machine"])
    print(f"{cpu}, Python {machine['python_version']}, {found['datetime']}")
    print("CPU time of a step called from Python, on one thread: median of 40 rounds.")
    print("A round has 1,000 steps; the two implementations take turns.\n")
    print(table(medians(found)))


if __name__ == "__main__":
    main()
