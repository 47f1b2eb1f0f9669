"""Grant shares of budgets to hosts: the money bank, in the store and never in Redis.

A grant is one transaction that locks the budget's row. The grants of all hosts, or what they have
spent where that is more, never exceed the cap. The bank never lowers a host's grant before the host
has lowered its own money word.
"""

import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from nemorouter.errors import ContentionError
from nemorouter.store.engine import Store
from nemorouter.store.sums import window_days

_TRIES: Final = 8
_SHARES: Final = 4
"""Of what is left, a host may have one share of so many for each host, unasked: the last money is
in nobody's way.
"""
_STARVED_MS: Final = 5_000  # how long a host that got too little asks the others to give back
_LOCK: Final = text(
    "SELECT b.kind, b.scope_id, b.max_spend_nano, b.duration FROM budgets AS b "
    "JOIN (SELECT DISTINCT * FROM unnest(CAST(:kinds AS smallint[]), "
    "CAST(:ids AS bigint[])) AS a (kind, id)) AS a "
    "ON b.kind = a.kind AND b.scope_id = a.id ORDER BY b.kind, b.scope_id FOR NO KEY UPDATE OF b"
)
_BOOKS: Final = text(
    "SELECT a.n, "
    "coalesce(sum(greatest(h.granted, h.spent)) FILTER (WHERE h.host <> :host), 0) AS others, "
    "coalesce(sum(h.spent) FILTER (WHERE h.host = :host), 0) AS mine, "
    "count(*) FILTER (WHERE h.granted IS NOT NULL AND h.host <> :host) AS hosts "
    "FROM unnest(CAST(:kinds AS smallint[]), CAST(:ids AS bigint[]), CAST(:firsts AS int[]), "
    "CAST(:ends AS bigint[])) "
    "WITH ORDINALITY AS a (kind, id, first, after, n) LEFT JOIN LATERAL ("
    "SELECT coalesce(l.host, s.host) AS host, l.granted_nano AS granted, "
    "coalesce(s.spent, 0) AS spent FROM "
    "(SELECT host, granted_nano FROM money_leases "
    "WHERE kind = a.kind AND scope_id = a.id AND first_day = a.first) AS l FULL JOIN "
    "(SELECT host, sum(cost_nano) AS spent FROM spend_host "
    "WHERE kind = a.kind AND scope_id = a.id AND day >= a.first AND day < a.after "
    "GROUP BY host) AS s "
    "ON l.host = s.host) AS h ON true GROUP BY a.n ORDER BY a.n"
)
_WRITE: Final = text(
    "INSERT INTO money_leases (kind, scope_id, first_day, host, granted_nano, committed_nano, "
    "starved_ms, at_ms) "
    "SELECT kind, id, first, :host, granted, committed, starved, :at "
    "FROM unnest(CAST(:kinds AS smallint[]), "
    "CAST(:ids AS bigint[]), CAST(:firsts AS int[]), CAST(:granted AS bigint[]), "
    "CAST(:committed AS bigint[]), "
    "CAST(:starved AS bigint[])) AS a (kind, id, first, granted, committed, starved) "
    "ON CONFLICT (kind, scope_id, first_day, host) DO UPDATE "
    "SET granted_nano = excluded.granted_nano, "
    "committed_nano = excluded.committed_nano, starved_ms = excluded.starved_ms, "
    "at_ms = excluded.at_ms"
)
_PRESSED: Final = text(
    "SELECT m.kind, m.scope_id, m.first_day FROM money_leases AS m WHERE m.host = :host "
    "AND EXISTS ("
    "SELECT 1 FROM money_leases AS o WHERE o.kind = m.kind AND o.scope_id = m.scope_id "
    "AND o.first_day = m.first_day AND o.host <> :host AND o.starved_ms > :since)"
)


class BudgetRequest(NamedTuple):
    """A host's report of one money word, for the window that begins on ``first_day``.

    All amounts are nano-USD. A request without ``need`` and ``like`` gives back what the host has
    withdrawn from its word, and records an overrun.
    """

    kind: int
    id: int
    first_day: int
    committed: int  # the word: posted and reserved through this host
    held: int  # what its arena allows now, after any withdrawal
    need: int = 0  # a request of this much did not fit
    like: int = 0  # what would spare it the next visits


class BudgetReply(NamedTuple):
    """The bank's answer: what the host may commit in the window from now on.

    ``granted`` is None where there is no such budget, or its window begins on another day; the host
    must then apply the newest policies before it asks again.
    """

    granted: int | None
    left: int = 0  # of the cap, granted to no host
    excess: int = (
        0  # grants exceed the cap (it was lowered): withdraw what is unspent, and come again
    )
    short: bool = False  # ``need`` does not fit: refuse, until others give back or the window turns


class Books(NamedTuple):
    """One budget in one window, as the store holds it.

    ``others`` is the sum over all other hosts of the grant, or of the spend where that is more.
    """

    cap: int
    others: int
    mine: int  # spent through this host
    hosts: int  # that hold grants, others than this


def decide(ask: BudgetRequest, books: Books) -> BudgetReply:
    """Pure: everything about a grant but its rows."""
    base = max(
        ask.held, ask.committed, books.mine
    )  # also an overrun, and what a lost answer granted
    room = books.cap - books.others - base
    if room < 0:
        return BudgetReply(base, 0, -room, short=base < ask.committed + ask.need)
    need = max(0, ask.committed + ask.need - base)
    more = (
        need if need <= room else 0
    )  # else hosts would keep amounts from each other that serve no request
    more += min(ask.like, (room - more) // (_SHARES * (books.hosts + 1)))
    return BudgetReply(base + more, room - more, 0, short=need > room)


async def settle(
    store: Store, asks: Sequence[BudgetRequest], host: int | None = None
) -> list[BudgetReply]:
    """Settle the grants, returns and overruns of one host in one transaction.

    Return one reply for each of ``asks``, in order; ``asks`` names each window at most once. A
    reply that is lost costs nothing, since the next request states what the host holds. StoreError:
    nothing is known to have changed, and what the host holds stays valid.
    """
    for attempt in range(_TRIES):
        try:
            async with store.write_shared() as connection:
                return await _settle(connection, asks, store.host if host is None else host)
        except ContentionError:
            if attempt == _TRIES - 1:
                raise
    raise AssertionError


async def pressed(store: Store, host: int | None = None) -> list[tuple[int, int, int]]:
    """List this host's grants in windows where another host got too little.

    Each is (kind, id, first day). The host should give back what is unspent of them.
    """
    values = {"host": store.host if host is None else host, "since": _now_ms() - _STARVED_MS}
    async with store.read() as connection:
        return [(kind, id, first) for kind, id, first in await connection.execute(_PRESSED, values)]


async def forget(store: Store, host: int) -> int:
    """Free what a host that will not come back holds; return the number of its grants.

    Its spend stays counted. If the host comes back after all, what it committed beyond that is an
    overrun.
    """
    async with store.write_shared() as connection:
        done = await connection.execute(
            text("DELETE FROM money_leases WHERE host = :host"), {"host": host}
        )
        return int(done.rowcount)


async def _settle(
    connection: AsyncConnection, asks: Sequence[BudgetRequest], host: int
) -> list[BudgetReply]:
    budgets = await _lock(connection, asks)
    known: list[
        tuple[int, BudgetRequest, int, int]
    ] = []  # place, question, cap, day after the window
    for place, ask in enumerate(asks):
        cap, duration = budgets.get((ask.kind, ask.id), (0, -1))
        if duration >= 0 and (window := window_days(duration, ask.first_day))[0] == ask.first_day:
            known.append((place, ask, cap, window[1]))
    answers = [BudgetReply(None)] * len(asks)
    if known:
        books = await _books(connection, known, host)
        for (place, ask, _, _), book in zip(known, books, strict=True):
            answers[place] = decide(ask, book)
        await _write(connection, [(ask, answers[place]) for place, ask, _, _ in known], host)
    return answers


async def _lock(
    connection: AsyncConnection, asks: Sequence[BudgetRequest]
) -> dict[tuple[int, int], tuple[int, int]]:
    """Lock the budgets of ``asks`` until the transaction ends; return (cap, duration) of each.

    All hosts lock in one order, so that no two of them wait for each other.
    """
    values = {"kinds": [ask.kind for ask in asks], "ids": [ask.id for ask in asks]}
    rows = await connection.execute(_LOCK, values)
    return {(kind, id): (cap, duration) for kind, id, cap, duration in rows}


async def _books(
    connection: AsyncConnection, known: Sequence[tuple[int, BudgetRequest, int, int]], host: int
) -> list[Books]:
    values: dict[str, Any] = {
        "host": host,
        "kinds": [ask.kind for _, ask, _, _ in known],
        "ids": [ask.id for _, ask, _, _ in known],
        "firsts": [ask.first_day for _, ask, _, _ in known],
        "ends": [after for _, _, _, after in known],
    }
    rows = await connection.execute(_BOOKS, values)
    return [
        Books(cap, others, mine, hosts)
        for (_, _, cap, _), (_, others, mine, hosts) in zip(known, rows, strict=True)
    ]


async def _write(
    connection: AsyncConnection, settled: Sequence[tuple[BudgetRequest, BudgetReply]], host: int
) -> None:
    at = _now_ms()
    values: dict[str, Any] = {
        "host": host,
        "at": at,
        "kinds": [ask.kind for ask, _ in settled],
        "ids": [ask.id for ask, _ in settled],
        "firsts": [ask.first_day for ask, _ in settled],
        "granted": [answer.granted for _, answer in settled],
        "committed": [ask.committed for ask, _ in settled],
        "starved": [at if answer.short else 0 for _, answer in settled],
    }
    await connection.execute(_WRITE, values)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
