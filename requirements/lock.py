"""Writes run.txt and dev.txt: every package that pyproject.toml needs, pinned by version. Run by
`make lock`.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent


def resolve(needs: list[str]) -> list[str]:
    """``name==version`` of all that pip would install for ``needs`` on this interpreter."""
    report = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--dry-run",
            "--ignore-installed",
            "--report",
            "-",
            *needs,
        ],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    packages = [item["metadata"] for item in json.loads(report)["install"]]
    return sorted(
        f"{package['name'].lower().replace('_', '-')}=={package['version']}" for package in packages
    )


def write(name: str, about: str, needs: list[str]) -> None:
    """One lock file."""
    (HERE / name).write_text(
        "\n".join([f"# {about} Made by `make lock`.", *resolve(needs), ""]), "utf-8"
    )


def main() -> None:
    """Both lock files."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text("utf-8"))
    run = project["project"]["dependencies"]
    # redis wants it below Python 3.11.3 (Debian 12 has 3.11.2), whichever interpreter writes the
    # lock.
    run = [*run, "async-timeout>=5"]
    extras = [
        need for needs in project["project"]["optional-dependencies"].values() for need in needs
    ]
    write("run.txt", "What a server needs, alone or as one of several.", run + extras)
    write(
        "dev.txt",
        "What building, testing and checking need.",
        run + extras + project["dependency-groups"]["tools"],
    )


if __name__ == "__main__":
    main()
