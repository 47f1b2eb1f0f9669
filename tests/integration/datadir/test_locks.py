"""File locks between processes."""

import subprocess
import sys
from pathlib import Path

from nemorouter.datadir.locks import Flock


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    script = (
        "import sys,pathlib\nfrom nemorouter.datadir.locks import Flock\n"
        f"lock = Flock.attempt(pathlib.Path({str(path)!r}))\nprint('held', flush=True)\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        assert Flock.attempt(path) is None
        child.kill()
    assert Flock.attempt(path) is not None


def test_a_forked_child_holds_no_lock(tmp_path: Path) -> None:
    script = (
        "import os,sys,pathlib\nfrom nemorouter.datadir.locks import Flock\n"
        "lock = Flock.attempt(pathlib.Path(sys.argv[1]))\nchild = os.fork()\n"
        "if not child:\n    print(lock.held, flush=True)\n    sys.stdin.read()\n    os._exit(0)\n"
        "os._exit(0)"
    )
    path = tmp_path / "x.lock"
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "False\n"
        assert parent.wait() == 0
        assert Flock.attempt(path) is not None
