"""Test a cycle of the drainer, with a death at each of its steps.

Rows are there once, words are true, nothing is left behind.
"""

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nemorouter._core import Journal
from nemorouter.arena import attach
from nemorouter.datadir import set_aside
from nemorouter.datadir.locks import Flock
from nemorouter.datadir.set_aside import Queue
from nemorouter.errors import Code, StoreError
from nemorouter.ledger import move as drain_module
from nemorouter.ledger import recount as recount_module
from nemorouter.store import journals, ledger
from nemorouter.types import Duration, Kind, Outcome
from tests.support.desk import Desk, everywhere, in_each_ledger
from tests.support.world import KEY, ORG


async def test_rows_move_and_slots_come_back(desk: Desk) -> None:
    desk.ask(5)
    open_ticket = desk.admit()
    assert desk.journal.free_slots == 58
    assert await desk.drain.turn() == 5
    assert desk.journal.free_slots == 63
    assert await desk.ledger() == (5, 35)
    assert desk.committed() == everywhere(45)
    desk.settle(open_ticket)
    assert await desk.drain.turn() == 1
    assert desk.committed() == everywhere(42)
    assert await desk.drain.turn() == 0


async def test_a_dead_worker_is_charged_as_reserved_once(desk: Desk) -> None:
    await desk.die(ended=3, opened=2)
    assert desk.committed() == everywhere(41)
    await desk.drain.turn()
    assert await desk.ledger() == (5, 41)
    assert desk.committed() == everywhere(41)
    outcomes = await desk.world.all(
        "SELECT outcome, count(*) FROM requests GROUP BY outcome ORDER BY outcome"
    )
    assert outcomes == [(Outcome.OK, 3), (Outcome.RECOVERED, 2)]
    assert desk.data.journal_paths() == [
        desk.data.journals / f"{desk.journal.journal_id:016x}.journal"
    ]
    assert not desk.data.recount_file.exists()


async def test_what_a_worker_left_half_made_is_removed_unless_somebody_holds_it(
    desk: Desk,
) -> None:
    left, held = (desk.data.journals / f"{name:016x}.new" for name in (1, 2))
    left.write_bytes(bytes(4096))
    lock = Flock.attempt(held)
    assert lock is not None
    with lock:
        await desk.drain.turn()
        assert not left.exists()
        assert held.exists()
    desk.drain = desk.new_drain()
    await desk.drain.turn()
    assert not held.exists()
    assert len(desk.data.journal_paths()) == 1


async def test_a_recount_mends_a_word_that_is_wrong(desk: Desk) -> None:
    """The word is spoilt on purpose: what a worker leaves that dies between two of its levels."""
    await desk.die(ended=1, opened=1)
    desk.spoil(999)
    assert desk.committed()[Kind.KEY] == 999
    await desk.drain.turn()
    assert desk.committed() == everywhere(17)


async def test_a_recount_counts_no_row_twice(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drainer before us committed more rows than one batch of ours, and freed none."""
    monkeypatch.setattr(drain_module, "_ROWS", 2)
    desk.ask(7)
    await ledger.record(desk.world.store, desk.journal.rows())
    desk.data.recount_file.write_bytes(
        msgspec.json.encode(
            recount_module.Waiting(desk.arena_identity(), list(range(desk.arena.scopes)))
        )
    )
    await desk.new_drain().turn()
    assert desk.committed() == everywhere(49)
    assert await desk.ledger() == (7, 49)


class Death(BaseException):
    """The drainer's process ends here."""


def _before_commit(patch: pytest.MonkeyPatch) -> None:
    in_each_ledger(patch, "sums", _die)


def _between_commit_and_free(patch: pytest.MonkeyPatch) -> None:
    real = journals.move

    async def dying(
        store: Any, data: Any, journals: Any, refusal_counts: Any = (), limit: int = 4096
    ) -> int:
        unfreeable: Any = [_Unfreeable(journal) for journal in journals]
        return await real(store, data, unfreeable, refusal_counts, limit)

    patch.setattr(drain_module, "move", dying)


class _Unfreeable:
    def __init__(self, journal: object) -> None:
        self._journal = journal

    def __getattr__(self, name: str) -> object:
        return getattr(self._journal, name)

    def free(self, slots: list[int]) -> None:
        if slots:
            raise Death


def _inside_recover(patch: pytest.MonkeyPatch) -> None:
    def recover(self: recount_module.Recounts, journal: Journal) -> None:
        self._unsure = True
        self._keep()
        journal.recover()
        raise Death

    patch.setattr(recount_module.Recounts, "recover", recover)


def _before_recount(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(drain_module, "recount", _die)


def _between_recount_and_note(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recount_module.Recounts, "done", _die)


def _die(*_: object) -> None:
    raise Death


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(_before_commit, id="before-commit"),
        pytest.param(_between_commit_and_free, id="between-commit-and-free"),
        pytest.param(_inside_recover, id="inside-recover"),
        pytest.param(_before_recount, id="before-recount"),
        pytest.param(_between_recount_and_note, id="between-recount-and-note"),
    ],
)
async def test_a_drainer_may_die_anywhere(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, fault: Callable[[pytest.MonkeyPatch], None]
) -> None:
    desk.ask(2)
    open_ticket = desk.admit()
    await desk.die(ended=3, opened=2)
    desk.spoil(5_000)
    with monkeypatch.context() as patch:
        fault(patch)
        with pytest.raises(Death):
            await desk.drain.turn()
    desk.drain = desk.new_drain()
    gc.collect()  # the dead drainer's hold on the journal goes with it
    await desk.drain.turn()
    await desk.drain.turn()
    assert await desk.ledger() == (7, 55)
    assert desk.committed() == everywhere(65)
    desk.settle(open_ticket)
    await desk.drain.turn()
    assert desk.committed() == everywhere(62)
    assert len(desk.data.journal_paths()) == 1
    assert not desk.data.recount_file.exists()
    assert desk.arena.frozen() == []


async def test_a_changed_duration_is_recounted_from_the_ledger(desk: Desk) -> None:
    await desk.drain.turn()
    desk.ask(2)
    pending = desk.admit()
    await desk.world.scope(Kind.KEY, KEY, cap=10**9, duration=Duration.DAILY)
    await attach.catch_up_if_live(desk.world.settings, desk.world.store)
    refusal = desk.gate.admit(desk.index, "m", 0, 0, 40, 0, 1, False)
    assert not isinstance(refusal, int)
    assert refusal.code == Code.NOT_READY
    desk.settle(pending)
    assert desk.journal.deferred() != []
    await desk.drain.turn()
    assert desk.arena.frozen() == []
    assert desk.journal.deferred() == []
    assert desk.committed() == everywhere(21)
    assert await desk.drain.turn() == 1
    assert await desk.ledger() == (3, 21)
    desk.ask()


async def test_a_missed_change_is_caught_up(desk: Desk) -> None:
    await desk.drain.turn()
    before = desk.arena.applied
    await desk.world.scope(Kind.ORG, ORG, status=3)
    end = time.monotonic() + 5
    while desk.arena.applied == before:
        assert time.monotonic() < end
        await desk.drain.turn()
    refusal = desk.gate.identify(f"Bearer {desk.world.keys[KEY]}", "127.0.0.1", 0)
    assert refusal == -Code.OWNER_DISABLED


async def test_an_error_of_the_store_keeps_everything(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.ask(4)
    with monkeypatch.context() as patch:
        in_each_ledger(patch, "_DAY", "INSERT INTO nowhere VALUES (?)")
        for _ in range(3):
            with pytest.raises(StoreError):
                await desk.drain.turn()
    assert await desk.ledger() == (0, 0)
    await desk.drain.turn()
    assert await desk.ledger() == (4, 28)


async def test_refusals_reach_the_store_when_their_minute_is_over(desk: Desk) -> None:
    await desk.world.scope(Kind.KEY, KEY, status=2)
    await attach.catch_up_if_live(desk.world.settings, desk.world.store)
    for _ in range(3):
        assert (
            desk.gate.identify(f"Bearer {desk.world.keys[KEY]}", "127.0.0.1", 0)
            == -Code.KEY_REVOKED
        )
    await desk.drain.turn()
    await desk.drain.last_turn()
    assert await desk.world.all("SELECT key_id, code, count FROM refusals") == [
        (KEY, Code.KEY_REVOKED, 3)
    ]


async def test_a_damaged_journal_is_set_aside(desk: Desk) -> None:
    torn = desk.data.journals / "00000000000000ff.journal"
    torn.write_bytes(b"\xff" * 8192)
    desk.ask()
    assert await desk.drain.turn() == 1
    assert not torn.exists()
    assert torn.with_suffix(".damaged").exists()


def _spoil_row(desk: Desk, place: int, word: int) -> None:
    """Write a number of 64 bits into the slot at ``place`` of the live worker's journal."""
    path = Path(desk.journal.path or "")
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 512 * (desk.journal.slots - place) + 8 * word)
        file.write((1 << 63).to_bytes(8, "little"))


@pytest.mark.parametrize("word", [8, 9, 12, 13, 16])
async def test_a_row_that_no_ledger_can_hold_stops_no_other(desk: Desk, word: int) -> None:
    """Row R8 of the campaigns: one corrupt slot stopped the rows of all workers of the host."""
    desk.ask(3)
    _spoil_row(desk, 1, word)
    assert await desk.drain.turn() == 2
    assert await desk.ledger() == (2, 14)
    assert desk.journal.free_slots == 64
    (item,) = set_aside.read(desk.data, Queue.ROWS).items
    assert item.name == f"row {desk.journal.journal_id:016x}-2"
    assert (item.row[:2], len(item.row)) == ((desk.journal.journal_id, 2), 20)
    desk.ask()
    assert await desk.drain.turn() == 1


async def test_a_row_that_the_store_refuses_stops_no_other(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kind of row P1: whatever is wrong with one row, the others are in the ledger."""
    real = desk.world.store.record

    async def record(rows: Any, refusal_counts: Any) -> int:
        if any(row.seq == 2 for row in rows):
            raise OverflowError("Python int too large to convert to SQLite INTEGER")
        return await real(rows, refusal_counts)

    monkeypatch.setattr(desk.world.store, "record", record)
    desk.ask(4)
    await desk.drain.turn()
    assert await desk.ledger() == (3, 21)
    assert [item.row[1] for item in set_aside.read(desk.data, Queue.ROWS).items] == [2]
    assert desk.journal.free_slots == 64


async def test_a_fault_that_is_no_rows_own_loses_none(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def record(*_: object) -> int:
        raise TypeError("a fault of the program")

    desk.ask(3)
    with monkeypatch.context() as patch:
        patch.setattr(desk.world.store, "record", record)
        with pytest.raises(TypeError):
            await desk.drain.turn()
    assert set_aside.read(desk.data, Queue.ROWS).total == 0
    await desk.drain.turn()
    assert await desk.ledger() == (3, 21)


async def test_a_dead_workers_damaged_rows_are_named_before_its_journal_goes(desk: Desk) -> None:
    await desk.die(ended=2, opened=1)
    (path,) = (path for path in desk.data.journal_paths() if str(path) != desk.journal.path)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 512 * 64 + 8 * 13)
        file.write((1 << 63).to_bytes(8, "little"))
    assert await desk.drain.turn() == 2
    assert not path.exists()
    assert len(set_aside.read(desk.data, Queue.ROWS).items) == 1


async def test_a_scope_that_is_none_is_not_recounted_for_ever(desk: Desk) -> None:
    """A corrupt slot may name any scope; the recounts of the others must come to an end."""
    await desk.die(ended=1, opened=1)
    (path,) = (path for path in desk.data.journal_paths() if str(path) != desk.journal.path)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 512 * 64 + 8)
        file.write((0x7FFF_FFFF).to_bytes(8, "little"))
    desk.spoil(999)
    await desk.drain.turn()
    assert not desk.data.recount_file.exists()
    assert desk.committed()[Kind.ORG] == 17


@pytest.mark.parametrize("step", ["_end", "_follow_changes", "_find_journals"])
async def test_a_step_that_fails_hinders_no_other(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A revocation is applied although the journal of a dead worker cannot be ended."""
    await desk.drain.turn()
    await desk.die(ended=1, opened=0)
    desk.ask(2)
    with monkeypatch.context() as patch:
        patch.setattr(desk.drain, step, _fail)
        with pytest.raises(RuntimeError, match="this step"):
            await desk.drain.turn()
    assert (await desk.ledger())[0] >= 2
    await desk.world.scope(Kind.KEY, KEY, status=2)
    with monkeypatch.context() as patch:
        patch.setattr(desk.drain, "_end", _fail)
        patch.setattr(desk.drain, "_looked_at_changes", 0.0)
        patch.setattr(desk.drain, "_look_at_changes", 0.0)
        desk.drain._dead[Path("/nowhere")] = desk.journal
        with pytest.raises(RuntimeError):
            await desk.drain.turn()
    assert desk.gate.identify(f"Bearer {desk.world.keys[KEY]}", "127.0.0.1", 0) < 0


async def _fail(*_: object) -> None:
    raise RuntimeError("this step cannot be taken")
