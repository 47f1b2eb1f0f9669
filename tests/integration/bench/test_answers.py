"""Test that every benchmark checks its answers before it takes a time.

Here they are wrong, and each must say so.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benches.load import envoy, floor, litellm, tensorzero, wrk
from benches.load.case import Case, Scenario, Server
from benches.load.fleet import Fleet
from benches.load.measure import Bench
from nemorouter.bench import check
from nemorouter.bench.client import request
from nemorouter.bench.servers import BODY, CHAT, Keys, prepare
from tests.support.bench.liar import lying

ROOT = Path(__file__).parents[3]
CHECKS: dict[str, Callable[[int], None]] = {
    "Envoy": envoy.check,
    "TensorZero": tensorzero.check,
    "LiteLLM, master key": litellm._check_master,
    "LiteLLM, custom_auth": litellm._check_limits,
    "FastAPI": floor.fastapi().check,
    "streams": floor.stream().check,
    "local provider": floor.upstream().check,
}


@pytest.fixture
def port() -> Iterator[int]:
    """Of a server that admits everybody."""
    with lying() as port:
        yield port


@pytest.mark.parametrize("name", CHECKS)
def test_a_rival_or_floor_that_lies_is_found_out(name: str, port: int) -> None:
    with pytest.raises((AssertionError, KeyError, IndexError)):
        CHECKS[name](port)


def test_a_constant_is_a_constant() -> None:
    with lying(500) as port, pytest.raises(AssertionError):
        floor.rsgi().check(port)


def test_a_gateway_that_lies_is_found_out(tmp_path: Path, port: int) -> None:
    settings, keys = prepare(tmp_path)
    with pytest.raises(AssertionError):
        check.check_gateway(port, keys, settings)


def test_rows_that_are_missing_in_the_log_are_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, _ = prepare(tmp_path)
    monkeypatch.setattr(check, "_PATIENCE_S", 0.1)
    with pytest.raises(AssertionError, match="0 rows in the log, 5 expected"):
        check.wait_for_rows(settings, 5)


@pytest.mark.skipif(not wrk.have(), reason="wrk is not installed")
@pytest.mark.parametrize(("answered", "expected"), [(200, 429), (429, 200)])
def test_a_flood_of_wrong_answers_is_no_figure(
    tmp_path: Path, answered: int, expected: int
) -> None:
    with lying(answered) as port, pytest.raises(AssertionError, match="answers were 4xx or 5xx"):
        wrk.flood(tmp_path, port, (request(CHAT, BODY),), expected, 1)


class Fake:
    """A fleet with one server, which lies."""

    def __init__(self, tmp_path: Path, port: int, *, rival: bool) -> None:
        self.fleet = Fleet.__new__(Fleet)
        self.fleet.folder = tmp_path
        self.fleet.say = lambda _: None
        self.fleet.skipped = {}
        self.fleet.versions = {}
        self.fleet._known = {}
        self.fleet._running = {}
        server = Server("liar", "1", lambda _: [], lambda _: True, envoy.check)
        self.fleet.know_rival("liar", lambda: server) if rival else self.fleet.know(server)
        from nemorouter.bench.process import Running

        self.fleet._running["liar"] = Running(os.getpid(), port, tmp_path)


def test_a_rival_that_answers_wrongly_is_left_out_with_the_reason(
    tmp_path: Path, port: int
) -> None:
    fleet = Fake(tmp_path, port, rival=True).fleet
    case = Case("the liar's 429", "liar", (request(CHAT, BODY),), 429)
    assert Bench(fleet, 1, 1).scenario(Scenario("s", "S", case, [])) == []
    assert "expected b'HTTP/1.1 429'" in fleet.skipped["the liar's 429"]


def test_one_of_ours_that_answers_wrongly_ends_the_run(tmp_path: Path, port: int) -> None:
    fleet = Fake(tmp_path, port, rival=False).fleet
    case = Case("ours", "liar", (request(CHAT, BODY),), 429)
    with pytest.raises(AssertionError, match=r"HTTP/1\.1 429"):
        Bench(fleet, 1, 1).scenario(Scenario("s", "S", case, []))


def micro(*arguments: str, plugin: str = "") -> dict[str, int]:
    """Outcomes of the micro-benchmarks, run once each as tests."""
    chosen = ["-p", plugin] if plugin else []
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:xdist",
        "-p",
        "no:cacheprovider",
        *chosen,
        *arguments,
    ]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "python")])}
    said = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300
    ).stdout
    return {
        word: int(number)
        for number, word in re.findall(r"(\d+) (passed|failed)", said.splitlines()[-1])
    }


def test_the_micro_benchmarks_still_run() -> None:
    found = micro("benches/micro/test_gate.py")
    assert found == {"passed": 14}


def test_each_micro_benchmark_fails_on_a_wrong_answer() -> None:
    found = micro("benches/micro/test_gate.py", plugin="tests.support.bench.broken")
    assert found == {"failed": 14}, "a benchmark took the time of a gate that answers wrongly"


def test_a_limiter_that_admits_everything_is_found_out() -> None:
    pytest.importorskip("limits")
    found = micro(
        "benches/micro/test_rivals.py", "-k", "limits-fixed", plugin="tests.support.bench.broken"
    )
    assert set(found) == {"failed"}


def test_keys_of_every_kind_are_made(tmp_path: Path) -> None:
    assert len(set(prepare(tmp_path)[1])) == len(Keys._fields)
