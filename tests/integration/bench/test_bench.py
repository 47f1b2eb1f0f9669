"""Test ``nemorouter bench``: it measures real servers and touches nothing of the user.

It takes no time of a wrong answer.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from nemorouter.bench import quick
from nemorouter.bench.process import cores, free_port
from nemorouter.bench.quick import Result
from nemorouter.bench.servers import granian
from nemorouter.cli.bench import bench


def test_it_measures_gate_server_and_latency() -> None:
    before = os.sched_getaffinity(0)
    said = list[str]()
    found = quick.measure(1, said.append)
    assert os.sched_getaffinity(0) == before
    assert len(said) == quick.steps(), "the bar would not end"
    native, reference = found.gate[:2]
    assert statistics.median(reference.ns) > 5 * statistics.median(native.ns)
    assert [len(row.ratio) for row in found.served] == [5] * 5
    assert all(row.cpu_us and min(row.cpu_us) > 1 for row in found.served)
    assert all(min(row.worker_us) > 1 for row in found.served)
    assert [pace.rate for pace in found.latency] == [*quick._RATES] * 2
    assert all(0 < pace.p50_us <= pace.p99_us for pace in found.latency)
    assert found.shared_core == (len(cores()) < 2)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Result) == found


def test_it_refuses_to_time_a_server_that_answers_wrongly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that admits everybody stands in for the gateway."""
    monkeypatch.setattr(quick, "_GATE", ())
    ports = [free_port(), free_port()]
    monkeypatch.setattr(quick, "free_port", iter(ports).__next__)
    monkeypatch.setattr(
        quick, "gateway", lambda: granian("nemorouter.bench.constant:app", ports[0])
    )
    assert bench(seconds=quick.LEAST_SECONDS) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert (
        "Nothing was measured, for something answered wrongly: HttpResponse(status=200" in said.err
    )


def test_the_command_answers_tables_and_no_progress_into_a_pipe(tmp_path: Path) -> None:
    """Without a terminal, stderr stays empty; the data directory of the user is not made."""
    program = (
        "from nemorouter.bench import quick; quick._FIXED_S = quick.LEAST_SECONDS; "
        "quick._GATE = quick._GATE[:2]\n"
        "from nemorouter.cli import main; main(['bench', '--seconds', '20', '--json'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout)["served"][0]["what"] == "key checked, logged"
    assert list(tmp_path.iterdir()) == []


def test_too_short_is_told() -> None:
    command = [
        sys.executable,
        "-c",
        "from nemorouter.cli import main; main(['bench', '--seconds', '1'])",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "--seconds must be 20 or more" in done.stderr
