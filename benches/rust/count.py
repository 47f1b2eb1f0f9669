"""Count the instructions of each operation of the core, and compare them with a baseline.

python -m benches.rust.count [--write] [--json FILE]

Callgrind counts the same on a busy machine as on an idle one, where times differ. Counts depend on
the compiler and on the instruction set of the processor (valgrind hides AVX-512), so the baseline
has an entry for each such pair, and the program fails where there is none.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
BASELINE: Final = Path(__file__).with_name("baseline.json")
TIMES: Final = 1_000
"""How often ``count.rs`` runs an operation; its ``TIMES`` has the same value."""
TOLERANCE: Final = 0.03
OPERATIONS: Final = (
    "identify",
    "admit",
    "settle",
    "admit-all-limits",
    "settle-all-limits",
    "refuse-rpm",
    "refuse-tpm",
    "refuse-budget",
    "refuse-unknown",
    "refuse-malformed",
    "chunk",
)
"""The arguments that ``count.rs`` takes.

``admit`` and ``settle`` are of three scopes with requests and tokens a minute, ``-all-limits`` of
four scopes with every limit; ``chunk`` is a chunk of a stream in the scanner.
"""

Counts = dict[str, float]
"""Instructions for one run of an operation, by its name."""


def build() -> Path:
    """Compile ``count.rs``; return the path of the program."""
    command = "cargo bench --locked -p nemorouter-openai --bench count --no-run"
    # rustix' own system calls look for a vDSO, and valgrind shows none to a program. With libc,
    # rustix makes no system calls of its own.
    env = os.environ | {
        "RUSTFLAGS": "--cfg rustix_use_libc",
        "CARGO_TARGET_DIR": str(ROOT / "target" / "count"),
    }
    built = subprocess.run(
        [*command.split(), "--message-format", "json"],
        cwd=ROOT,
        env=env,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    artifacts = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
    (found,) = [
        each["executable"] for each in artifacts if each.get("target", {}).get("name") == "count"
    ]
    return Path(found)


def instructions(binary: Path, operation: str, folder: Path) -> int:
    """Run ``operation`` once under callgrind; return the instructions inside ``counted_step``."""
    out = folder / operation
    options = [
        "--tool=callgrind",
        "--collect-atstart=no",
        "--toggle-collect=counted_step",
        "--cache-sim=no",
    ]
    subprocess.run(
        ["valgrind", "-q", *options, f"--callgrind-out-file={out}", binary, operation],
        check=True,
        capture_output=True,
        timeout=300,
    )
    found = re.search(r"^(?:totals|summary): (\d+)", out.read_text("utf-8", "replace"), re.M)
    assert found, f"callgrind wrote no total for {operation}"
    return int(found[1])


def count() -> Counts:
    """Count each operation; the instructions of an empty loop are subtracted."""
    binary = build()
    with tempfile.TemporaryDirectory() as text:
        empty = instructions(binary, "nothing", Path(text))
        return {
            name: (instructions(binary, name, Path(text)) - empty) / TIMES for name in OPERATIONS
        }


def signature() -> str:
    """Name what counts depend on beside the sources: instruction set and compiler."""
    flags = (
        Path("/proc/cpuinfo").read_text("utf-8").partition("flags")[2].partition("\n")[0].split()
    )
    simd = next((name for name in ("avx2", "sse4_1", "asimd") if name in flags), "scalar")
    rustc = subprocess.run(
        ["rustc", "--version"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return f"{platform.machine()} {simd}, rustc {rustc.split()[1]}"


def compare(found: Counts, baseline: Counts) -> list[str]:
    """Return a line for each operation that costs over 3 % more than its baseline, or has none."""
    worse = []
    for name, instructions_now in found.items():
        before = baseline.get(name)
        if before is None:
            worse.append(f"{name}: not in the baseline")
        elif instructions_now > before * (1 + TOLERANCE):
            worse.append(
                f"{name}: {instructions_now:.0f} instructions, {instructions_now / before - 1:+.1%}"
            )
    return worse


def table(found: Counts, baseline: Counts) -> str:
    """Format the counts as text, an operation on a line."""
    lines = [f"{'operation':20}{'instructions':>14}{'baseline':>12}{'change':>10}"]
    for name, now in found.items():
        before = baseline.get(name)
        change = f"{before:>12.1f}{now / before - 1:>+10.1%}" if before else f"{'-':>12}{'':>10}"
        lines.append(f"{name:20}{now:>14.1f}{change}")
    return "\n".join(lines)


def main() -> None:
    """Compare with the baseline, or write a new one; exit with 1 if an operation grew."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write the counts as the baseline")
    parser.add_argument("--json", type=Path, help="also write the counts to this file")
    arguments = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is needed (Debian: apt-get install valgrind).")
    entries: dict[str, Counts] = (
        json.loads(BASELINE.read_text("utf-8")) if BASELINE.exists() else {}
    )
    key = signature()
    found = count()
    print(key)
    print(table(found, entries.get(key, {})))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        written = {"key": key, "counts": found, "baseline": entries.get(key, {})}
        arguments.json.write_text(json.dumps(written, indent=1) + "\n", "utf-8")
    if arguments.write:
        entries[key] = found
        BASELINE.write_text(json.dumps(entries, indent=1) + "\n", "utf-8")
    elif key not in entries:
        sys.exit(
            f"The baseline has no entry for {key}: make one on a commit you trust, with --write."
        )
    elif worse := compare(found, entries[key]):
        sys.exit("\n".join(worse))


if __name__ == "__main__":
    main()
