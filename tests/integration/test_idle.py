"""Measure what an idle server takes; a campaign only, for a busy machine measures itself."""

import os
import time
from pathlib import Path

import pytest

from tests.support.processes import children
from tests.support.servers import Host, chat

SECONDS = 20


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.campaign
def test_an_idle_server_takes_less_than_a_hundredth_of_a_processor(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with host.serve(workers=2) as server:
        assert server.call(body=chat(), key=host.key()).status == 200
        time.sleep(2)
        everyone = [
            *children(server.process.pid),
            *children(server.process.pid, drainer=True),
            server.process.pid,
        ]
        before = {pid: cpu_s(pid) for pid in everyone}
        time.sleep(SECONDS)
        shares = {pid: (cpu_s(pid) - before[pid]) / SECONDS for pid in everyone}
    print({pid: f"{share:.2%}" for pid, share in shares.items()})
    assert max(shares.values()) < 0.01, shares
