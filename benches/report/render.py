"""Render the report from the measured runs, and from nothing else.

python -m benches.report.render [--data FOLDER] [--out FOLDER]

Each folder below ``data`` is a run. The texts of the report contain no figure of their own.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benches.report import chapters
from benches.report.pieces import DATA, runs
from benches.report.plots import plots
from benches.report.pool import Report

HERE: Final = Path(__file__).parent


def main() -> None:
    """Write the text and the plots, and print their names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    for name, text in files(arguments.data):
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / name).write_text(text, "utf-8")
        print(name)


def files(data: Path) -> Iterator[tuple[str, str]]:
    """Yield name and text of each file of the report; ValueError if there is no run."""
    report = Report(runs(data))
    if not report.pieces:
        raise ValueError(f"there is no run in {data}")
    drawn = dict(plots(report))
    yield "README.md", readme(report, set(drawn))
    yield from drawn.items()


def readme(report: Report, drawn: set[str]) -> str:
    """Join all chapters that have figures; ``drawn`` are the names of the plots that exist."""
    made = [chapter(report) for chapter in chapters.ALL]
    text = "\n".join(part.rstrip() + "\n" for part in made if part)
    for name in ("servers", "latency", "growth", "gate", "profile"):
        mark = f"<!-- plot: {name} -->"
        text = text.replace(mark, f"![{name}]({name}.svg)" if f"{name}.svg" in drawn else "")
    return text


if __name__ == "__main__":
    main()
