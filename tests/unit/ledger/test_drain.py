"""A turn of the drainer, with a death at each of its steps: rows once, words true, nothing left
behind.
"""

import gc
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from nemorouter._core import Journal
from nemorouter.arena import attach
from nemorouter.errors import Code, StoreError
from nemorouter.ledger import move as drain_module
from nemorouter.ledger import recount as recount_module
from nemorouter.store import journals, ledger
from nemorouter.types import Duration, Kind, Outcome
from tests.faults.world import KEY, ORG
from tests.unit.ledger.conftest import Desk, everywhere, in_each_ledger


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
    assert desk.data.journal_paths() == [desk.data.journals / f"{desk.journal.boot:016x}.journal"]
    assert not desk.data.recount_file.exists()


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
        store: Any, data: Any, journals: Any, tallies: Any = (), limit: int = 4096
    ) -> int:
        unfreeable: Any = [_Unfreeable(journal) for journal in journals]
        return await real(store, data, unfreeable, tallies, limit)

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
