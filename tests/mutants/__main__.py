"""Run a seeded sample of mutants of the money, auth and cluster paths against their tests.

``python -m tests.mutants --sample 100 --seed 1``, or ``--only ledger``. Each mutant lives in a copy
of the repository, so that servers which tests start are mutants too. The exit code is 1 if more
than one mutant in twenty survives. The mutants of the native code are cargo-mutants'.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from random import Random
from typing import Final, NamedTuple

from tests.mutants.change import Mutant, mutants

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = Path("python/nemorouter")
TESTS: Final = {
    "roles.py": ("unit", "integration/services", "integration/test_tenancy.py"),
    "ids.py": ("unit", "integration/services/scopes"),
    "settings.py": ("unit",),
    "datadir": ("unit/datadir", "integration/datadir", "integration/test_serve.py"),
    "arena": ("integration/arena", "integration/test_money.py"),
    "ledger": ("integration/ledger", "integration/drainer", "integration/test_crash.py"),
    "drainer": ("integration/drainer", "integration/ledger"),
    "store": ("unit/store", "integration/store", "integration/ledger", "integration/services"),
    "services/access": (
        "integration/services/access",
        "integration/test_signin.py",
        "integration/test_audited.py",
    ),
    "services/scopes": ("integration/services/scopes", "integration/test_audited.py"),
    "services/budgets": ("integration/services/budgets", "integration/test_alerts.py"),
    "services/transaction": ("integration/services",),
    "services/fields": ("unit/services", "integration/services", "integration/test_bad_input.py"),
    "cluster/rates": ("unit/cluster/rates", "integration/cluster/rates"),
    "cluster/budgets": ("integration/cluster/budgets", "integration/test_fleet_limits.py"),
    "cluster/membership": ("unit/cluster", "integration/test_registry.py"),
    "control": ("unit/control", "integration/control", "integration/test_api.py"),
    "gateway": ("unit/gateway", "integration/test_middleware.py", "integration/test_streams.py"),
}
"""Which tests are to notice a change below each place of the package."""

_LEAST_KILLED: Final = 0.95
_LONGEST_S: Final = 900.0
_LEFT_OUT: Final = shutil.ignore_patterns(".git", ".venv", "target", ".benchmarks", "__pycache__")


class Case(NamedTuple):
    """A mutant of the file ``path``, and the tests that should fail with it."""

    path: Path
    mutant: Mutant
    tests: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.path.relative_to(PACKAGE)}:{self.mutant.line}: {self.mutant.what}"


def main() -> int:
    """Run the sample, print each mutant with its end, and return the exit code."""
    options = _options()
    cases = _cases(options.only)
    sample = Random(options.seed).sample(cases, min(options.sample, len(cases)))
    print(f"{len(sample)} of {len(cases)} mutants, seed {options.seed}", flush=True)
    survivors: list[Case] = []
    with tempfile.TemporaryDirectory() as folder:
        copies: Queue[Path] = Queue()
        for number in range(options.jobs):
            copies.put(_copy(Path(folder) / str(number)))
        with ThreadPoolExecutor(options.jobs) as pool:
            suites = sorted({case.tests for case in sample})
            for tests, passed in zip(
                suites, pool.map(lambda tests: _passes(tests, copies), suites), strict=True
            ):
                if not passed:
                    raise SystemExit(f"Without a change these fail: {' '.join(tests)}")
            for case, noticed in zip(
                sample, pool.map(lambda case: _noticed(case, copies), sample), strict=True
            ):
                print("killed  " if noticed else "SURVIVED", case, flush=True)
                survivors += [] if noticed else [case]
    killed = 1 - len(survivors) / max(1, len(sample))
    print(f"{killed:.1%} killed; {len(survivors)} survived")
    for case in survivors:
        print("  ", case)
    return 0 if killed >= _LEAST_KILLED else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--sample", type=int, default=100, help="how many mutants to try")
    parser.add_argument("--seed", type=int, default=0, help="which of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at a time")
    parser.add_argument("--only", default="", help="a place of the package, such as ledger")
    return parser.parse_args()


def _cases(only: str) -> list[Case]:
    found: list[Case] = []
    for place, tests in TESTS.items():
        if not place.startswith(only):
            continue
        top = ROOT / PACKAGE / place
        for path in sorted(top.rglob("*.py")) if top.is_dir() else [top]:
            if "migrations" not in path.parts:
                made = mutants(path.read_text())
                found += [Case(path.relative_to(ROOT), mutant, tests) for mutant in made]
    return found


def _copy(folder: Path) -> Path:
    shutil.copytree(ROOT, folder, ignore=_LEFT_OUT, symlinks=True)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


def _noticed(case: Case, copies: Queue[Path]) -> bool:
    """Tell whether a test of ``case`` fails in a copy that has the mutant."""
    copy = copies.get()
    file = copy / case.path
    before = file.read_text()
    file.write_text(case.mutant.source)
    try:
        return not _run(copy, case.tests)
    finally:
        file.write_text(before)
        copies.put(copy)


def _passes(tests: tuple[str, ...], copies: Queue[Path]) -> bool:
    copy = copies.get()
    try:
        return _run(copy, tests)
    finally:
        copies.put(copy)


def _run(copy: Path, tests: tuple[str, ...]) -> bool:
    """Run ``tests`` in ``copy`` until one fails; a run without an end counts as a failure."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(
            [*command, *(f"tests/{test}" for test in tests)],
            cwd=copy,
            env=os.environ | {"PYTHONPATH": f"{copy}:{copy / 'python'}"},
            capture_output=True,
            timeout=_LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
