"""Turn the files of pytest-benchmark, criterion and callgrind into pieces of the report.

python -m benches.micro.collect --into FOLDER
    [--micro FILE...] [--criterion FOLDER] [--counts FILE] [--sizes FILE]
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from benches.micro.limiters import RIVALS
from benches.report import pieces
from benches.report.pieces import Count, Size, Step
from benches.report.pool import pooled_steps

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Write a piece for each of the files that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--micro", type=Path, nargs="+", help="one file for each pass")
    parser.add_argument("--criterion", type=Path)
    parser.add_argument("--counts", type=Path)
    parser.add_argument("--sizes", type=Path)
    given = parser.parse_args()
    if given.micro:
        steps = pooled_steps([micro(json.loads(file.read_text("utf-8"))) for file in given.micro])
        title = "One process, called from Python: CPU time of a step"
        pieces.write(
            given.into, pieces.new("micro", "micro", title, steps=steps, versions=versions(steps))
        )
    if given.criterion:
        title = "The native core alone, by criterion: time of a step"
        pieces.write(
            given.into, pieces.new("native", "native", title, steps=criterion(given.criterion))
        )
    if given.counts:
        found = json.loads(given.counts.read_text("utf-8"))
        counts = [
            Count(each, number, found["baseline"].get(each))
            for each, number in found["counts"].items()
        ]
        pieces.write(
            given.into,
            pieces.new(
                "counts", "counts", f"Instructions of a step: {found['key']}", counts=counts
            ),
        )
    if given.sizes:
        sizes = msgspec.json.decode(given.sizes.read_bytes(), type=list[Size])
        pieces.write(
            given.into,
            pieces.new("sizes", "sizes", "Memory and load time of the arena", sizes=sizes),
        )


def micro(found: dict[str, Any]) -> list[Step]:
    """Read a file of pytest-benchmark: the nanoseconds of each step, by implementation.

    A value is the median over the rounds of the file.
    """
    return [step for each in found["benchmarks"] for step in _steps(each)]


def _steps(each: dict[str, Any]) -> Iterator[Step]:
    """Read one benchmark: of a limiter of PyPI, or of the reference and the native gate."""
    test = each["name"].partition("[")[0].removeprefix("test_").removesuffix("_rival")
    params = each["params"] or {}
    extra = each["extra_info"]
    by = params.get("name", "reference")
    ids = [] if "keys" in params or not each["param"] else each["param"].split("-")
    case = "-".join(part for part in ids if part not in by.split("-"))
    timed = {by: each["stats"]["data"]}
    if "native" in extra:
        timed["native"] = extra["native"]
    for name, seconds in timed.items():
        yield Step(
            step=f"{test.replace('_', ' ')} {case}".strip(),
            by=name,
            ns=[pieces.middle(seconds) / extra["times"] * 1e9],
            keys=params.get("keys", 0),
            spread=params.get("spread", ""),
            threads=params.get("threads", 1),
        )


def versions(steps: list[Step]) -> dict[str, str]:
    """Return the version of each limiter's package that took part."""
    from importlib.metadata import version

    packages = {"limits": "limits", "throttled": "throttled-py", "pyrate_limiter": "pyrate-limiter"}
    used = {RIVALS[step.by][0] for step in steps if step.by in RIVALS}
    return {packages[module]: version(packages[module]) for module in sorted(used)}


def criterion(folder: Path) -> list[Step]:
    """Read criterion's results below ``folder``: nanoseconds of each benchmark.

    The values of a benchmark are the median and the two ends of its 95 % interval.
    """
    steps = []
    for file in sorted(folder.glob("*/*/new/estimates.json")):
        about = json.loads((file.parent / "benchmark.json").read_text("utf-8"))
        median = json.loads(file.read_text("utf-8"))["median"]
        elements = (about["throughput"] or {}).get("Elements", 1)
        interval = median["confidence_interval"]
        values = (interval["lower_bound"], median["point_estimate"], interval["upper_bound"])
        steps.append(
            Step(
                step=f"{about['group_id']}: {about['function_id']}",
                by="core",
                ns=[value / elements for value in values],
            )
        )
    return steps


if __name__ == "__main__":
    main()
