"""The verb that counts instructions."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_verb_fails_when_a_step_grew(tmp_path: Path) -> None:
    """The whole program, but for the counting itself, which takes valgrind and minutes."""
    program = (
        "import sys, json, pathlib; from benches.rust import count\n"
        "key = count.signature(); known = json.loads(count.BASELINE.read_text()); "
        "known[key] = {'admit': 1000.0}\n"
        "count.BASELINE = pathlib.Path(sys.argv[1]); count.BASELINE.write_text(json.dumps(known))\n"
        "found = float(sys.argv[2]); count.count = lambda: {'admit': found}\n"
        "count.shutil.which = lambda _: '/bin/true'; sys.argv[1:] = []; count.main()\n"
    )

    def run(instructions: str) -> int:
        command = [sys.executable, "-c", program, str(tmp_path / "baseline.json"), instructions]
        return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode

    assert run("1029") == 0
    assert run("1031") == 1
