"""Test a policy, a price or a row that arena or journal cannot hold."""

from pathlib import Path

import pytest

from nemorouter import types
from nemorouter._core import MAX_PRICES, Arena, Gate, Journal, ManualClock
from nemorouter.types import Kind, ModelPrice, Policy, Status

_SLOTS = 4


def price(model: str, version: int = 1) -> ModelPrice:
    return ModelPrice(model=model, version=version, input=1_000_000)


def test_the_number_of_prices_is_one_number() -> None:
    assert MAX_PRICES == types.MAX_PRICES


def test_a_full_price_table_takes_another_once_one_is_removed() -> None:
    """Row P1 of the attacks: prices can be deleted, and make room."""
    arena = Arena.private(4)
    for number in range(MAX_PRICES):
        arena.put_price(price(f"m{number}"))
    with pytest.raises(MemoryError, match="price table is full"):
        arena.put_price(price("one more"))
    arena.put_price(price("m7", version=2))
    arena.remove_price("m7")
    arena.remove_price("never there")
    arena.remove_price("x" * 500)
    arena.put_price(price("one more"))


def test_a_closed_scope_refuses_until_its_newest_policy_comes() -> None:
    arena = Arena.private(4)
    index = arena.put(Policy(kind=Kind.ORG, id=1, version=5, name="Acme"))
    arena.close(index)
    assert arena.identity(index).status == Status.DISABLED
    assert arena.identity(index).name == "Acme"
    arena.put(Policy(kind=Kind.ORG, id=1, version=6))
    assert arena.identity(index).status == Status.ACTIVE
    with pytest.raises(ValueError, match="no scope"):
        arena.close(7)


def _write(path: Path, word: int, value: int) -> None:
    """Put a word into the file of a journal."""
    with path.open("r+b") as file:
        file.seek(8 * word)
        file.write(value.to_bytes(8, "little"))


def _slot(path: Path, number: int) -> int:
    """First word of a slot: slots of 64 words end the file."""
    return path.stat().st_size // 8 - 64 * (_SLOTS - number)


@pytest.mark.parametrize("word", [8, 10, 13, 16])
def test_a_row_that_the_ledger_cannot_hold_is_told_apart(tmp_path: Path, word: int) -> None:
    """Row R8 of the campaigns: one corrupt slot must not stop the rows of all workers."""
    arena = Arena.private(4)
    journal = Journal.create(str(tmp_path), _SLOTS, ["echo"])
    for entry in (
        Policy(kind=Kind.ORG, id=1, version=1),
        Policy(kind=Kind.TEAM, id=2, version=1, org=1),
    ):
        arena.put(entry)
    key = arena.put(Policy(kind=Kind.KEY, id=3, version=1, org=1, team=2, digest=b"d" * 32))
    arena.put_price(price("m"))
    gate = Gate(arena, journal, [(1, b"p" * 32)], ManualClock())
    for _ in range(2):
        ticket = gate.admit(key, "m", 0, 0, 4, 1, 1, False)
        assert isinstance(ticket, int)
        gate.settle(ticket, 1, 0, 1, 200, 1, 1, None)
    (path,) = tmp_path.glob("*.journal")
    _write(path, _slot(path, 0) + word, 1 << 63)
    assert [row.slot for row in journal.rows()] == [1]
    assert [row.slot for row in journal.unfit()] == [0]
    assert 1 << 63 in journal.unfit()[0]
    journal.free([0, 1])
    assert journal.rows() == journal.unfit() == []
    assert journal.free_slots == _SLOTS


def test_a_journal_with_an_impossible_id_is_not_opened(tmp_path: Path) -> None:
    """Row R8 of the campaigns: such an id would be a column that no row can have."""
    Journal.create(str(tmp_path), _SLOTS, ["echo"])
    (path,) = tmp_path.glob("*.journal")
    assert Journal.open(str(path)).journal_id > 0
    _write(path, 2, 1 << 63)
    with pytest.raises(ValueError, match="id of no journal"):
        Journal.open(str(path))
