"""Test that every way to read SQLite's request log follows an order that is there.

No row more is read, also without statistics.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import event

from nemorouter.ledger.retain import retain
from nemorouter.roles import Actor
from nemorouter.services.reports import logs, usage
from nemorouter.services.scopes import keys
from nemorouter.services.transaction.context import Context

_BY_TIME = "USING PRIMARY KEY (org_id=?"
_BY_KEY = "USING INDEX ix_requests_key_id_at_ms_journal_id_seq (key_id=?"


async def _plans(context: Context, read: Callable[[], Awaitable[object]]) -> list[str]:
    """Return SQLite's plans for the queries that ``read`` makes."""
    asked: list[tuple[str, Any]] = []

    def hear(_connection: Any, _cursor: Any, statement: str, values: Any, *_: object) -> None:
        if "requests" in statement:
            asked.append((statement, values))

    engine = context.store._engine.sync_engine
    event.listen(engine, "before_cursor_execute", hear)
    await read()
    event.remove(engine, "before_cursor_execute", hear)
    steps: list[str] = []
    async with context.store.read() as connection:
        for statement, values in asked:
            plan: Any = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            steps += [step for *_, step in plan]
    assert steps
    return steps


@pytest.mark.parametrize(
    ("where", "order"),
    [
        pytest.param({}, _BY_TIME, id="all"),
        pytest.param({"since": "2026-01-01", "until": "2026-02-01"}, _BY_TIME, id="between"),
        pytest.param({"model": "m"}, _BY_TIME, id="model"),
        pytest.param({"key": "mine"}, _BY_KEY, id="key"),
        pytest.param(
            {"key": "mine", "model": "m", "since": "2026-01-01"}, _BY_KEY, id="key-and-model"
        ),
    ],
)
@pytest.mark.parametrize("cursor", [None, "1764364800000.7.9"], ids=["first", "later"])
async def test_a_page_of_the_log_is_not_sorted(
    context: Context, owner: Actor, where: dict[str, Any], order: str, cursor: str | None
) -> None:
    await keys.create(context, owner, keys.NewKey(name="mine"))
    filter = logs.LogFilter(**where)
    steps = await _plans(context, lambda: logs.logs(context, owner, filter, cursor=cursor))
    looks = [step.replace("COVERING ", "") for step in steps if "requests" in step]
    assert looks
    assert all(order in step for step in looks), steps
    assert not [step for step in steps if "TEMP B-TREE" in step], steps


async def test_hours_and_follow_read_a_span(context: Context, owner: Actor) -> None:
    span = "requests USING PRIMARY KEY (org_id=? AND at_ms>?"
    for read in (
        lambda: usage.usage(context, owner, interval="hour"),
        lambda: logs.ended_since(context, owner, logs.LogFilter(), 1_764_364_800_000),
    ):
        steps = await _plans(context, read)
        assert [step for step in steps if span in step], steps


async def test_retention_reads_no_young_row(context: Context) -> None:
    steps = await _plans(context, lambda: retain(context.store, 90, 1_764_364_800_000))
    assert [step for step in steps if "USING PRIMARY KEY (org_id=? AND at_ms<?)" in step], steps
