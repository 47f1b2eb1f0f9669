"""Test the control process: model calls never wait for it, and it is started again."""

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nemorouter.bench.process import tree
from nemorouter.control.process.supervisor import NICER
from tests.support.api import form, get
from tests.support.servers import Host, Server, chat, until

_KNOWS_SLICES = tuple(int(part) for part in os.uname().release.split(".")[:2]) >= (6, 12)
_SLICE = re.compile(r"^se\.slice +: +(\d+)", re.MULTILINE)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return Host(tmp_path_factory.mktemp("control"))


@pytest.fixture(scope="module")
def server(host: Host) -> Iterator[Server]:
    with host.serve(workers=2) as running:
        yield running


def processes(server: Server) -> list[int]:
    """Those of the control plane."""
    return [
        pid
        for pid in tree(server.process.pid)
        if b"control.process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def control(server: Server) -> int:
    """Return the control process, after a page was asked for."""
    until(lambda: get(server, "/login").status == 200)
    (found,) = processes(server)
    return found


def niceness(pid: int) -> set[int]:
    """Of each of its threads."""
    stats = [(task / "stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return {int(stat.rpartition(")")[2].split()[16]) for stat in stats}


def policies(pid: int) -> Counter[int]:
    """Scheduling policies, and how many of its threads have each."""
    return Counter(
        os.sched_getscheduler(int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir()
    )


def test_it_is_made_at_the_first_page_and_only_then(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with host.serve(workers=1) as server:
        assert server.call(body=chat(), key=host.key()).status == 200
        assert processes(server) == []
        assert get(server, "/login").status == 200
        (pid,) = processes(server)
        assert (host.settings.data_dir / "control.sock").is_socket()
    assert not (host.settings.data_dir / "control.sock").exists()
    assert not Path(f"/proc/{pid}").exists()


def test_passwords_are_hashed_there_and_at_the_lowest_priority(server: Server) -> None:
    pid = control(server)
    assert form(server, "/login", {"email": "a@example.org", "password": "wrong"}).status == 400
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert niceness(pid) == {ours + NICER}
    assert policies(pid)[os.SCHED_IDLE] == 1
    assert {
        nice for other in set(tree(server.process.pid)) - {pid} for nice in niceness(other)
    } == {ours}
    assert all(
        policies(other).keys() == {os.SCHED_OTHER}
        for other in set(tree(server.process.pid)) - {pid}
    )


def test_workers_are_prompt(server: Server) -> None:
    """Require a short time slice of workers' threads, and a table of files that need not grow.

    The slice is short where Linux knows it.
    """
    tables: list[int] = []
    slices: list[list[int]] = []
    for pid in tree(server.process.pid):
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        slices.append(
            [
                int(found[1])
                for task in tasks
                if (found := _SLICE.search((task / "sched").read_text()))
            ]
        )
        tables.append(
            int(Path(f"/proc/{pid}/status").read_text().partition("FDSize:")[2].split()[0])
        )
    prompt = [table >= 4096 for table in tables]
    assert prompt.count(True) == 2  # the workers, and nobody else
    if _KNOWS_SLICES:
        for of_worker, threads in zip(prompt, slices, strict=True):
            assert all((one == 600_000) == of_worker for one in threads)


def test_model_calls_do_not_wait_for_it(host: Host, server: Server) -> None:
    key = host.key()
    pid = control(server)
    os.kill(pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(20) as pool:
            pages = [pool.submit(get, server, "/login") for _ in range(20)]
            for _ in range(50):
                begun = time.monotonic()
                assert server.call(body=chat(), key=key).status == 200
                assert time.monotonic() - begun < 5
            assert not any(page.done() for page in pages)
            os.kill(pid, signal.SIGCONT)
            assert {page.result().status for page in pages} == {200}
    finally:
        os.kill(pid, signal.SIGCONT)


def test_killed_it_is_made_again(host: Host, server: Server) -> None:
    pid = control(server)
    os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.call, "/api/v1/me")
        time.sleep(0.3)
        os.kill(pid, signal.SIGKILL)
        answer = waiting.result()
    assert (answer.status, answer.error["code"]) == (503, "not_ready")
    assert answer.header("retry-after") == "1"
    assert server.call(body=chat(), key=host.key()).status == 200
    assert get(server, "/login").status == 200  # from it, or from a worker meanwhile
    until(lambda: get(server, "/login").status == 200 and processes(server) not in ([], [pid]), 30)


def test_a_worker_answers_where_there_is_none(host: Host) -> None:
    with host.serve("granian-rsgi") as server:
        assert get(server, "/login").status == 200
        assert server.call("/api/v1/me").status == 401
