"""Whatever ends a server, no process of it lives on, no lock stays held, and no answer is lost."""

import contextlib
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from nemorouter.bench.process import tree
from nemorouter.datadir.ending import NAME
from nemorouter.datadir.holders import Process, holders
from nemorouter.datadir.paths import DataDir
from nemorouter.ids import request_text
from nemorouter.services.operations.doctor import examine
from nemorouter.types import Outcome
from tests.support.servers import SERVE, Host, Server, chat, until
from tests.support.upstreams import FakeUpstream

LONGEST_S = 5.0
"""How long a process may outlive its master."""
WORKERS = 2


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as made:
        made.alias |= {"gpt-slow": "stream-slow", "gpt-second": "stream-second"}
        yield made


@pytest.fixture
def host(tmp_path: Path, upstream: FakeUpstream) -> Host:
    return Host(tmp_path, {"upstreams": upstream.settings(), "workers": WORKERS})


class Load:
    """Clients that stream and clients that do not. ``answered`` are the ids of whole answers."""

    def __init__(self, server: Server, key: str, streams: int = 8, others: int = 4) -> None:
        self.server = server
        self.key = key
        self.answered: list[str] = []
        self.over = threading.Event()
        bodies = [chat("gpt-slow", stream=True)] * streams + [chat("gpt-quick")] * others
        self._threads = [
            threading.Thread(target=self._run, args=(body,), daemon=True) for body in bodies
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, body: object) -> None:
        while not self.over.is_set():
            try:
                answer = self.server.call(body=body, key=self.key)
            except (OSError, ValueError):
                time.sleep(0.02)
                continue
            whole = answer.header("content-length") or answer.body.endswith(b"[DONE]\n\n")
            if answer.status == 200 and whole:
                self.answered.append(answer.header("x-nemo-request-id") or "")

    def end(self) -> None:
        """Begin no more requests, and wait for those that run."""
        self.over.set()
        for thread in self._threads:
            thread.join(30)


def everyone(server: Server) -> list[int]:
    """List the master and all processes below it."""
    return tree(server.process.pid)


def wait_for_end_of(pids: list[int], seconds: float) -> float:
    """Seconds until none of the processes lives."""
    begun = time.monotonic()
    until(lambda: not any(map(Process.look, pids)), seconds, f"{pids} are not gone")
    return time.monotonic() - begun


def workers_of(server: Server) -> list[int]:
    """List the server's workers."""
    found = filter(None, map(Process.look, everyone(server)))
    return [process.pid for process in found if process.name == NAME + "worker"]


def streams_run(upstream: FakeUpstream, count: int = 1) -> None:
    """Wait until the provider streams."""
    until(lambda: sum(seen.body.get("stream", False) for seen in upstream.seen) >= count)
    time.sleep(0.2)


def rows(host: Host) -> list[tuple[str, int]]:
    """Request id and outcome of each row of the request log."""
    with sqlite3.connect(host.settings.data_dir / "nemorouter.db") as connection:
        found = connection.execute("SELECT journal_id, seq, outcome FROM requests").fetchall()
    return [(request_text(journal_id, seq), outcome) for journal_id, seq, outcome in found]


def locks_are_free(host: Host) -> None:
    """No process holds a lock of the data directory."""
    for path in DataDir(host.settings.data_dir).locks:
        assert holders(path) == [], path


def told_workers(server: Server) -> int:
    """Return how many workers the metrics count; 0 while none listens yet."""
    try:
        lines = server.call("/metrics").body.decode().splitlines()
    except ConnectionError:
        return 0
    return int(next(line for line in lines if line.startswith("nemorouter_workers ")).split()[1])


def test_three_signals_at_once_end_a_worker_after_its_streams(
    host: Host, upstream: FakeUpstream
) -> None:
    key = host.key()
    with host.serve() as server:
        answers = []
        body = chat("gpt-second", stream=True)
        threads = [
            threading.Thread(target=lambda: answers.append(server.call(body=body, key=key)))
            for _ in range(4 * WORKERS)
        ]
        for thread in threads:
            thread.start()
        streams_run(upstream, len(threads))
        workers = workers_of(server)
        for _ in range(3):
            for worker in workers:
                with contextlib.suppress(ProcessLookupError):  # it had no stream
                    os.kill(worker, signal.SIGTERM)
            time.sleep(0.05)
        wait_for_end_of(workers, 20)
        for thread in threads:
            thread.join(10)
        assert all(answer.body.endswith(b"[DONE]\n\n") for answer in answers)
        assert len(answers) == len(threads)
        until(lambda: told_workers(server) == WORKERS)
        host.rows(len(threads))


def test_ctrl_c_twice_ends_everybody_cleanly(host: Host, upstream: FakeUpstream) -> None:
    key = host.key()
    with host.serve() as server:
        load = Load(server, key)
        streams_run(upstream)
        pids = everyone(server)
        for _ in range(2):
            for pid in pids:  # as a terminal does
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)
            time.sleep(0.3)
        load.over.set()
        end = time.monotonic() + 35
        while server.process.poll() is None and time.monotonic() < end:
            server.process.send_signal(signal.SIGINT)  # up to its last instant
            time.sleep(0.01)
        assert server.process.poll() == 0
        assert wait_for_end_of(pids, 1) < 1
        load.end()
    every_answer_is_in_the_log_once(host, load)
    assert Outcome.RECOVERED not in {outcome for _, outcome in rows(host)}
    lines_are_json(server)
    locks_are_free(host)


def every_answer_is_in_the_log_once(host: Host, load: Load) -> None:
    """Check that what the clients were answered is in the log, and nothing twice."""
    logged = [id for id, _ in rows(host)]
    assert len(set(logged)) == len(logged)
    assert set(load.answered) <= set(logged)
    assert len(set(load.answered)) == len(load.answered)
    assert load.answered


def lines_are_json(server: Server) -> None:
    """Past its greeting, a server prints nothing but events."""
    lines = server.log.read_text().splitlines()
    for line in lines:
        if line and not line.startswith(("NemoRouter serves", "Set up", "  http")):
            assert "event" in msgspec.json.decode(line), line


@pytest.mark.parametrize(
    "kills", [pytest.param(3, id="short"), pytest.param(100, id="long", marks=pytest.mark.campaign)]
)
def test_no_process_outlives_a_master_that_is_killed(
    host: Host, upstream: FakeUpstream, kills: int
) -> None:
    key = host.key()
    answered: list[str] = []
    ends: list[float] = []
    for _ in range(kills):
        with host.serve() as server:
            load = Load(server, key)
            streams_run(upstream)
            upstream.seen.clear()
            time.sleep(0.3)
            pids = everyone(server)[1:]
            assert len(pids) > WORKERS
            server.process.kill()
            server.process.wait()
            load.over.set()
            ends.append(wait_for_end_of(pids, 30))
            load.end()
            answered += load.answered
        locks_are_free(host)
    print(
        f"{kills} kills: the last process ended after {max(ends):.2f} s at most, "
        f"{sum(ends) / len(ends):.2f} s on average; {len(answered)} answers"
    )
    assert max(ends) <= LONGEST_S
    with host.serve() as server:
        until(lambda: len(list((host.settings.data_dir / "journal").iterdir())) == WORKERS)
        load.answered = answered
        until(lambda: set(answered) <= {id for id, _ in rows(host)}, what="answers are missing")
        every_answer_is_in_the_log_once(host, load)
        assert server.call("/readyz").json == {"status": "ready"}
    assert len(answered) > kills


def test_the_next_start_kills_an_orphan_that_is_stopped(host: Host, upstream: FakeUpstream) -> None:
    with host.serve() as server:
        worker = workers_of(server)[0]
        others = set(everyone(server)) - {worker}
        os.kill(worker, signal.SIGSTOP)
        server.process.kill()
        server.process.wait()
        wait_for_end_of(list(others), LONGEST_S)
    assert Process.look(worker) is not None
    with host.serve(port=server.port) as again:
        assert Process.look(worker) is None
        assert again.call(body=chat("gpt-quick"), key=host.key()).status == 200
        assert f'"pid":{worker}' in again.log.read_text()


def test_what_still_runs_at_the_limit_is_settled_at_what_was_produced(
    host: Host, upstream: FakeUpstream
) -> None:
    """A quarter of the limit before its end, so that the worker need not be killed."""
    key = host.key()
    with host.serve(shutdown_timeout=6) as server:
        load = Load(server, key, streams=3, others=0)
        streams_run(upstream, 3)
        begun = time.monotonic()
        load.over.set()
        server.process.terminate()
        assert server.process.wait(12) == 0
        assert 4.5 <= time.monotonic() - begun < 8
        load.end()
    with sqlite3.connect(host.settings.data_dir / "nemorouter.db") as connection:
        found = connection.execute("SELECT outcome, output_tokens FROM requests").fetchall()
    assert len(found) == 3
    for outcome, tokens in found:
        assert outcome != Outcome.RECOVERED
        assert 40 <= tokens < 130, "one token each 50 ms for 4.5 seconds or so, of 200"
    assert sum(cut_off(server)) == 3
    lines_are_json(server)


def cut_off(server: Server) -> list[int]:
    """Return how many requests each worker reports to have broken off."""
    events = [
        msgspec.json.decode(line) for line in server.log.read_text().splitlines() if "{" in line
    ]
    return [event["requests"] for event in events if event["event"] == "requests_cut_off"]


def drainer_of(host: Host) -> int:
    """Return the process that drains."""
    status = DataDir(host.settings.data_dir).drainer_status()
    return 0 if status is None else status.pid


def test_a_drainer_that_died_is_replaced_by_another_process(
    host: Host, upstream: FakeUpstream
) -> None:
    key = host.key()
    with host.serve() as server:
        first = drainer_of(host)
        for _ in range(2):  # at first at once, then after a pause
            os.kill(drainer_of(host), signal.SIGKILL)
            wait_for_end_of([first], 5)
            until(lambda: name_of(drainer_of(host)) == NAME + "drainer", what="none came back")
            assert drainer_of(host) != first
            first = drainer_of(host)
            assert server.call(body=chat("gpt-quick"), key=key).status == 200
        host.rows(2)
        assert server.call("/readyz").status == 200


def name_of(pid: int) -> str:
    process = Process.look(pid)
    return "" if process is None else process.name


def test_readyz_and_doctor_know_that_nobody_drains_and_the_master_ends_it(
    host: Host, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = "import nemorouter.server.master as module; module._HANGS_S = 16; module._LOOK_S = 0.5; "
    monkeypatch.setattr("tests.support.servers.SERVE", soon + SERVE)
    with host.serve() as server:
        stopped = drainer_of(host)
        os.kill(stopped, signal.SIGSTOP)
        until(lambda: server.call("/readyz").status == 503, 14)
        error = server.call("/readyz").error
        assert error["code"] == "not_ready"
        assert error["message"] == "No process of this host moves requests into the log. Retry."
        (finding,) = [c.finding for c in examine(host.settings) if c.name == "drainer"]
        assert f"rocess {stopped} ({NAME}drainer: " in finding
        assert "does not drain" in finding
        wait_for_end_of([stopped], 12)
        until(lambda: server.call("/readyz").status == 200, 15)
        assert server.call(body=chat("gpt-quick"), key=host.key()).status == 200
        host.rows(1)
