"""Prints what pytest-benchmark wrote as ratios of one run: `python -m benches.micro.report FILE`."""

import json
import sys
from pathlib import Path
from typing import Any

from benches.micro.collect import micro

Medians = dict[str, dict[str, float]]


def medians(found: dict[str, Any]) -> Medians:
    """Nanoseconds of one step, by step and implementation."""
    steps: Medians = {}
    for each in micro(found):
        steps.setdefault(each.step, {})[each.by] = each.ns[0]
    return steps


def table(steps: Medians) -> str:
    """One line a step."""
    lines = [f"{'step':34}{'native':>10}{'reference':>12}{'ratio':>9}"]
    for step, both in steps.items():
        ratio = both["reference"] / both["native"]
        lines.append(
            f"{step:34}{both['native']:>7.0f} ns{both['reference']:>9.0f} ns{ratio:>8.1f}x"
        )
    return "\n".join(lines)


def main() -> None:
    """Machine and method on top, then the table."""
    found = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    machine = found["machine_info"]
    cpu = machine["cpu"].get("brand_raw", machine["machine"])
    print(f"{cpu}, Python {machine['python_version']}, {found['datetime']}")
    print(
        "CPU time, median of 40 rounds of 1,000 steps, called from Python, one thread, in turns.\n"
    )
    print(table(medians(found)))


if __name__ == "__main__":
    main()
