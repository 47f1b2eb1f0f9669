"""Check what must be true of ledger and arena after any fault."""

import time

from nemorouter._core import Arena
from nemorouter.store.ledger import window_spend
from nemorouter.types import Kind
from tests.support.world import World


async def words_are_true(world: World, arena: Arena) -> None:
    """Nothing is in flight: every money word equals the ledger of its window."""
    wall_ms = time.time_ns() // 1_000_000
    async with world.store.read() as connection:
        for index in range(arena.scopes):
            who = arena.identity(index)
            spent = await window_spend(connection, who.kind, who.id, *arena.window(index, wall_ms))
            assert arena.meters(index).committed == spent, Kind(who.kind).name
            assert not arena.meters(index).frozen


async def ledger_is_complete(world: World, acknowledged: dict[tuple[int, int], int]) -> None:
    """Check that each acknowledged row is there once, at its cost.

    The sums of each level are those of the rows.
    """
    rows = await world.all("SELECT journal_id, seq, cost_nano FROM requests")
    ledger = {(journal_id, seq): cost for journal_id, seq, cost in rows}
    assert len(ledger) == len(rows)
    assert acknowledged.items() <= ledger.items()
    for column in ("key_id", "team_id", "user_id", "org_id"):
        by = f"SELECT {column}, {{}} GROUP BY {column} ORDER BY {column}"
        log = await world.all(by.format("sum(cost_nano), count(*) FROM requests"))
        assert log == await world.all(by.format("sum(cost_nano), sum(requests) FROM spend_daily"))


async def sums_agree(world: World) -> None:
    """Log and daily sums tell the same, to the nano-dollar."""
    log = "SELECT sum(cost_nano), count(*) FROM requests"
    days = "SELECT sum(cost_nano), sum(requests) FROM spend_daily"
    assert await world.one(log) == await world.one(days)


async def digest(world: World, id: int) -> bytes:
    (found,) = await world.one("SELECT digest FROM keys WHERE id = ?", id)
    assert isinstance(found, bytes)
    return found
