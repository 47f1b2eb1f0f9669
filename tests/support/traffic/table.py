"""Play all shapes on all drivers, and print a table: rows of kinds, columns of drivers."""

import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

from tests.support.traffic.checks import check
from tests.support.traffic.shapes import DRIVERS, shapes
from tests.support.traffic.stand import Stand, stand

_SHOWN: Final = 300


def main() -> int:
    """Print the table; 1 if a shape went wrong."""
    good: Counter[tuple[str, str]] = Counter()
    kept_out: Counter[tuple[str, str]] = Counter()
    faults: list[str] = []
    for driver in DRIVERS:
        with tempfile.TemporaryDirectory() as folder, stand(driver, Path(folder)) as played:
            _judge(played, good, kept_out, faults)
    total = Counter(shape.row for shape in shapes().values())
    width = 18
    print("row   shapes  " + "".join(f"{driver:>{width}}" for driver in DRIVERS))
    for row, count in sorted(total.items()):
        cells = [_cell(good[row, one], kept_out[row, one], count) for one in DRIVERS]
        print(f"{row:<6}{count:>6}  " + "".join(f"{cell:>{width}}" for cell in cells))
    print(
        f"{len(shapes())} shapes: {sum(good.values())} good on a driver, {len(faults)} wrong, ",
        end="",
    )
    print(f"{sum(kept_out.values())} that a driver cannot hold")
    for fault in faults:
        print(fault)
    reasons = {
        (driver, reason) for shape in shapes().values() for driver, reason in shape.skip.items()
    }
    for driver, reason in sorted(reasons):
        print(f"{driver} cannot: {reason}")
    return 1 if faults else 0


def _judge(
    played: Stand,
    good: Counter[tuple[str, str]],
    kept_out: Counter[tuple[str, str]],
    faults: list[str],
) -> None:
    for name, shape in shapes().items():
        at = shape.row, played.driver
        if shape.kept_out(played.driver):
            kept_out[at] += 1
            continue
        try:
            for play in played.plays[name]:
                check(played.driver, play)
            good[at] += 1
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            faults.append(f"{name} on {played.driver}: {told[:_SHOWN]}")


def _cell(good: int, kept_out: int, count: int) -> str:
    if good == count:
        return "ok"
    if kept_out == count:
        return "-"
    rest = f" of {count - kept_out}" if kept_out else f" of {count}"
    return f"{'ok' if good + kept_out == count else 'WRONG'} {good}{rest}"


if __name__ == "__main__":
    sys.exit(main())
