"""Hold the host's share of budgets: ask the money bank for more, and give back what lies idle.

It is one task of the host's agent. It never reports the spend of a money word that waits for its
recount, and never raises a grant but by the bank's reply. While the store is away, what was granted
stays valid and nothing more is granted.
"""

import asyncio
from contextlib import suppress
from typing import Final

import msgspec

from nemorouter._core import Arena, Lease
from nemorouter.cluster.budgets import bank
from nemorouter.cluster.rates.leases import boot_us
from nemorouter.errors import NemoError
from nemorouter.log import get_logger
from nemorouter.store.engine import Store
from nemorouter.types import MONEY

_LOOK_S: Final = 1.0
_IDLE_US: Final = 5_000_000
_DENY_US: Final = 2_000_000  # then the bank is asked again: others may have given back
_AHEAD: Final = 2  # what was spent between two looks, so many times, is asked for ahead
_BACKOFF_S: Final = (0.05, 0.2, 0.5, 1.0)
_REPEAT_US: Final = 60_000_000

_log = get_logger(__name__)


class _Known(msgspec.Struct):
    """A budget that this host holds a share of."""

    committed: int = 0
    pace: int = 0  # nano-USD between the last two looks
    moved_us: int = 0


class Money:
    """The money leases of the host; call ``demand`` and ``run`` in one event loop."""

    def __init__(self, arena: Arena, store: Store) -> None:
        self._arena = arena
        self._store = store
        self._known: dict[int, _Known] = {}
        self._demands: dict[int, list[int]] = {}
        self._awake = asyncio.Event()
        self._failures = 0
        self._logged_us = 0
        self._visits = 0

    def demand(self, index: int, need: int) -> None:
        """Note that a request of ``need`` nano-USD did not fit; 0: the share is nearly used up."""
        self._demands.setdefault(index, []).append(need)
        self._awake.set()

    def counters(self) -> dict[str, float]:
        """Return the number of calls to the bank since the start."""
        return {"money_visits": self._visits}

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until ``stopping``.

        What is unspent stays with this host: the next agent of the data directory takes it over.
        """
        for index, resource in self._arena.leased():
            if resource == MONEY:
                self._known[index] = _Known(moved_us=boot_us())
        look_at = 0
        while not stopping.is_set():
            try:
                if boot_us() >= look_at:
                    look_at = boot_us() + int(_LOOK_S * 1e6)
                    await self._look()
                await self._serve()
                self._failures = 0
            except (NemoError, OSError) as error:
                self._report(error)
                self._demands.clear()
                await asyncio.sleep(_BACKOFF_S[min(self._failures, len(_BACKOFF_S) - 1)])
                self._failures += 1
            if not self._demands:
                self._awake.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(
                        self._awake.wait(), max(0.0, (look_at - boot_us()) / 1e6)
                    )

    async def _look(self) -> None:
        """Give back what lies idle or others are in need of; record what went beyond a grant."""
        if not self._known:
            return
        pressed = {(kind, id): first for kind, id, first in await bank.pressed(self._store)}
        now = boot_us()
        due = []
        for index, known in list(self._known.items()):
            lease = self._lease(index)
            if lease is None:
                continue
            known.pace = max(0, lease.claimed - known.committed)
            known.committed = lease.claimed
            if known.pace:
                known.moved_us = now
            who = self._arena.identity(index)
            starved = pressed.get((who.kind, who.id)) == lease.first_day
            idle = now - known.moved_us >= _IDLE_US
            if idle and lease.granted <= lease.claimed:
                del self._known[index]
            elif lease.granted > lease.claimed and (idle or starved):
                self._arena.withdraw(index, MONEY, lease.granted - lease.claimed)
                due.append(index)
            elif lease.claimed > lease.granted:
                due.append(index)
        await self._settle(due, {})

    async def _serve(self) -> None:
        demands = self._demands
        self._demands = {}
        await self._settle(list(demands), demands)

    async def _settle(self, indices: list[int], demands: dict[int, list[int]]) -> None:
        asks: list[tuple[int, bank.BudgetRequest]] = []
        for index in indices:
            lease = self._lease(index)
            if lease is None or lease.limit is None:
                continue  # not counted yet, or no budget any more: requests that wait ask again
            who = self._arena.identity(index)
            needs = demands.get(index, [])
            known = self._known.setdefault(index, _Known(lease.claimed, 0, boot_us()))
            like = _AHEAD * known.pace if needs else 0
            ask = bank.BudgetRequest(
                who.kind, who.id, lease.first_day, lease.claimed, lease.granted, sum(needs), like
            )
            asks.append((index, ask))
        if not asks:
            return
        self._visits += 1
        answers = await bank.settle(self._store, [ask for _, ask in asks])
        for (index, ask), answer in zip(asks, answers, strict=True):
            self._take(index, ask, answer, demands.get(index, []))

    def _take(
        self, index: int, ask: bank.BudgetRequest, answer: bank.BudgetReply, needs: list[int]
    ) -> None:
        if answer.granted is None:
            return
        self._arena.grant(index, MONEY, answer.granted, 0, ask.first_day)
        lease = self._lease(index)
        if lease is None:
            return
        if answer.excess and lease.granted > lease.claimed:
            self._arena.withdraw(index, MONEY, min(answer.excess, lease.granted - lease.claimed))
            self.demand(index, 0)
        elif answer.short and ask.need > min(filter(None, needs)):
            self._demands.setdefault(index, []).append(
                min(filter(None, needs))
            )  # not for all; for one perhaps
        elif answer.short:
            self._arena.deny(index, MONEY, answer.left + 1, boot_us() + _DENY_US)

    def _lease(self, index: int) -> Lease | None:
        """Return a scope's money lease; None while its word is frozen or its policy written."""
        with suppress(RuntimeError):
            if not self._arena.meters(index).frozen:
                return self._arena.lease(index, MONEY)
        return None

    def _report(self, error: Exception) -> None:
        if boot_us() - self._logged_us > _REPEAT_US:
            self._logged_us = boot_us()
            _log.error("money_leases_failed", reason=f"{type(error).__name__}: {error}")
