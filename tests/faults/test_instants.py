"""Test SIGKILL between two given instructions of a request.

Nothing is lost, nothing stays, and every money word is true.
"""

import subprocess
import sys
from collections.abc import Callable

import pytest

from nemorouter._core import Journal
from tests.support.desk import Desk, desk, everywhere
from tests.support.stepper import Stepper
from tests.support.world import KEY

__all__ = ["desk"]

_WORKER = """
import asyncio, sys, pathlib
from nemorouter.arena import attach
from nemorouter._core import Gate
from nemorouter.datadir.secrets import load_peppers
from nemorouter.settings import Settings
s = Settings.load(data_dir=pathlib.Path(sys.argv[1]), capacity=4096, journal_slots=64)
arena = asyncio.run(attach.attach(s))
journal = asyncio.run(attach.new_journal(s, ['echo']))
gate = Gate(arena, journal, load_peppers(s.pepper_path))
index = gate.identify('Bearer ' + sys.argv[2], '127.0.0.1', 0)
print('ready', flush=True)
sys.stdin.buffer.read(1)
ticket = gate.admit(index, 'm', 0, 0, 40, 0, 1, False)
gate.settle(ticket, 7, 0, 0, 200, 1, 1, None)
print('done', flush=True)
sys.stdin.buffer.read(1)
"""
RESERVED = 10
COST = 7
_MOST_STEPS = 400_000
_EACH = (
    97  # instructions between two deaths of the campaign: a prime, so that no loop hides from it
)


def die_at(desk: Desk, stop: Callable[[Journal], bool], more: int = 0) -> bool:
    """Kill a worker in the middle of a request; return False if the request had ended by then.

    The worker is stopped at the first instruction where ``stop`` holds of its journal, and killed
    ``more`` instructions later.
    """
    command = [sys.executable, "-c", _WORKER, str(desk.data.root), desk.world.keys[KEY]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdin is not None
        assert worker.stdout.readline() == b"ready\n"
        (path,) = [path for path in desk.data.journal_paths() if str(path) != desk.journal.path]
        journal = Journal.open(str(path))
        with Stepper(worker.pid) as stepper:
            worker.stdin.write(b"go")
            worker.stdin.flush()
            for _ in range(_MOST_STEPS):
                if stop(journal):
                    break
                stepper.step()
            else:
                pytest.fail("the instant never came")
            stepper.step(more)
        worker.returncode = -9  # it was waited for
        return worker.stdout.read() == b""


async def mended(desk: Desk) -> int:
    """Let the drainer recover the desk; return how many rows there are.

    Rows and words must agree, and nothing be left.
    """
    while await desk.drain.turn():
        pass
    await desk.drain.turn()
    rows, spent = await desk.ledger()
    assert desk.committed() == everywhere(spent)
    assert len(desk.data.journal_paths()) == 1, "only the journal of the desk itself"
    return rows


def differ(desk: Desk) -> bool:
    """Return whether the money words of key, team, user and org differ.

    Then one was written, and another was not yet.
    """
    return len(set(desk.committed().values())) > 1


async def test_killed_while_it_takes_from_the_levels(desk: Desk) -> None:
    die_at(desk, lambda _: differ(desk))
    assert differ(desk)
    assert await mended(desk) == 0  # nobody was answered


async def test_killed_while_it_gives_back_to_the_levels(desk: Desk) -> None:
    whole = everywhere(RESERVED)
    reserved = False

    def stop(_: Journal) -> bool:
        nonlocal reserved
        reserved = reserved or desk.committed() == whole
        return reserved and differ(desk)

    die_at(desk, stop)
    assert differ(desk)
    assert await mended(desk) == 1
    assert await desk.ledger() == (1, COST)


@pytest.mark.campaign
async def test_killed_at_every_so_many_instructions(desk: Desk) -> None:
    """From the claim of the slot to the end of the request."""
    rows = 0
    deaths = 0
    while die_at(desk, lambda journal: journal.free_slots < journal.slots, deaths * _EACH):
        before = rows
        rows = await mended(desk)
        assert rows - before in (0, 1)
        deaths += 1
    assert rows > 0
    assert deaths > 20, deaths
