"""Test that counters of dead workers stay counted, once."""

from pathlib import Path

from nemorouter._core import Journal
from nemorouter.datadir import retained_counters, set_aside
from nemorouter.datadir.paths import DataDir
from nemorouter.datadir.set_aside import Item, Queue
from nemorouter.gateway.status import StatusPages
from tests.support.desk import Desk, desk

__all__ = ["desk"]


def counted(status: StatusPages) -> dict[str, int]:
    """Return the counters of /metrics."""
    lines = status("metrics")[2].decode().splitlines()
    found = (line.split() for line in lines if "_total" in line and not line.startswith("#"))
    return {name: int(value) for name, value in found}


async def test_metrics_keep_what_a_dead_worker_counted(desk: Desk) -> None:
    status = StatusPages(desk.gate, desk.data)
    desk.ask(3)
    await desk.die(ended=4, opened=2)
    before = counted(status)
    assert before["nemorouter_admitted_total"] == 9
    assert before["nemorouter_settled_total"] == 7
    await desk.drain.turn()
    assert len(desk.data.journal_paths()) == 1
    after = counted(status)
    assert after["nemorouter_admitted_total"] == 9
    assert after["nemorouter_settled_total"] == 9  # what was open is recovered


async def test_a_drainer_that_died_between_both_steps_counts_once(desk: Desk) -> None:
    status = StatusPages(desk.gate, desk.data)
    await desk.die(ended=4, opened=0)
    (dead,) = [path for path in desk.data.journal_paths() if str(path) != desk.journal.path]
    retained_counters.add(desk.data.counters_file, Journal.open(str(dead)), dead.name)
    assert counted(status)["nemorouter_admitted_total"] == 4, "counted in both places"
    await desk.drain.turn()
    assert counted(status)["nemorouter_admitted_total"] == 4


async def test_metrics_count_what_is_set_aside(desk: Desk) -> None:
    """Row P1 of the attacks: what cannot be applied was seen by nobody."""
    set_aside.update(desk.data, Queue.CHANGES, [Item("a", "no room"), Item("b", "no room")])
    text = StatusPages(desk.gate, desk.data)("metrics")[2].decode()
    assert 'nemorouter_set_aside{queue="changes"} 2\n' in text
    assert 'nemorouter_set_aside{queue="rows"} 0\n' in text


def test_a_missing_or_damaged_file_is_nothing(tmp_path: Path) -> None:
    file = DataDir(tmp_path).counters_file
    assert retained_counters.read(file) == retained_counters.RetainedCounters({}, [])
    file.write_bytes(b"{")
    assert retained_counters.read(file) == retained_counters.RetainedCounters({}, [])
